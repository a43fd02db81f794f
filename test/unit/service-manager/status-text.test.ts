import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { State } from '../../../src/dispatch/state.js';
import { describeState } from '../../../src/service-manager/status-text.js';
import { begun, play, ruleOf, type Script, wrote } from '../dispatch/play.js';

function stateOf(seconds: number, busyMs: number | null = null, more: Script = []): State {
  const rule = ruleOf('SIGTERM', ['power-button'], seconds);
  return play([...begun(rule), ...more], { limits: { busyTimeoutMs: busyMs } }).state;
}

test('what systemctl status shows of a shutdown', () => {
  assert.match(describeState(stateOf(60), 0), /^shutting down on SIGTERM, at most until \d\d:\d\d:\d\d$/);
  assert.equal(describeState(stateOf(Infinity), 0), 'shutting down on SIGTERM, until the guest shuts down');
  const days = describeState(stateOf(3 * 86_400), 0);
  assert.match(days, /^shutting down on SIGTERM, at most until [A-Z][a-z]{2} [A-Z][a-z]{2} \d\d \d{4} \d\d:\d\d:\d\d$/);
});

test('a guest that still writes is told of, with the time that it has for that', () => {
  const writes: Script = [
    [0.01, wrote(1)],
    [1.01, wrote(2, 3.2)],
  ];
  const state = stateOf(5, 10_000, writes);
  assert.match(
    describeState(state, 1_010),
    /^shutting down on SIGTERM, still writing, 3\.2 MB\/s, at most until \d\d:\d\d:\d\d$/,
  );
});
