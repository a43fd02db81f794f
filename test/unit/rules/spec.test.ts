import assert from 'node:assert/strict';
import fc from 'fast-check';
import { test } from 'node:test';
import { vmName } from '../../../src/qemu/argv.js';
import { parseSignalSpec } from '../../../src/rules/spec.js';
import { UsageError } from '../../../src/system/usage-error.js';

const qemu = (...options: string[]): string[] => ['qemu-system-x86_64', ...options];

test("a rule in QEMU's option style, with ,, for a comma", () => {
  assert.deepEqual(parseSignalSpec('hup,monitorcommand=savevm a,,b,timeout=.5,default=kill,script=x=y'), {
    signal: 'SIGHUP',
    script: 'x=y',
    monitorCommand: 'savevm a,b',
    timeoutMs: 500,
    defaultAction: 'kill',
  });
  assert.equal(parseSignalSpec('TERM,monitorcommand=none').monitorCommand, null);
  assert.equal(parseSignalSpec('TERM').monitorCommand, undefined);
});

test('any text at all as a rule is read, or refused in one line', () => {
  const pieces = fc.constantFrom(
    'SIGTERM',
    'hup',
    ',',
    ',,',
    '=',
    'script',
    'script=',
    'monitorcommand=',
    'timeout=',
    'default=',
    'quit',
    'none',
    '1',
    '-1',
    '1e9',
    ' ',
    'ä',
    '\n',
    '__proto__',
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(pieces).map((each) => each.join('')),
      ),
      (text) => {
        try {
          parseSignalSpec(text);
        } catch (error) {
          assert.ok(error instanceof UsageError, String(error));
        }
        vmName(qemu('-name', text));
      },
    ),
    { seed: 20261123, numRuns: 5_000 },
  );
});
