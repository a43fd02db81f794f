import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hookOutcome } from '../../../src/outcome/hook-outcome.js';

test('how a hook ended', () => {
  assert.deepEqual(hookOutcome(0, null), { kind: 'done' });
  assert.deepEqual(hookOutcome(75, null), { kind: 'not-now' });
  for (let code = 1; code < 256; code++) if (code !== 75) assert.equal(hookOutcome(code, null).kind, 'failed');
  assert.equal(hookOutcome(null, 'SIGKILL').kind, 'failed');
});

/** What QEMU said, in its order: run states that it answered, and events with their reason or action. */
