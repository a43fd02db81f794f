import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseSignal, trappableSignals } from '../../../src/signals/names.js';

test('signals by any of their names', () => {
  for (const text of ['SIGTERM', 'sigterm', 'TERM', 'term', 'SigTerm'])
    assert.deepEqual(parseSignal(text), { signal: 'SIGTERM' });
  assert.deepEqual(parseSignal('IOT'), { signal: 'SIGABRT' });
  assert.deepEqual(parseSignal('poll'), { signal: 'SIGIO' });
  for (const text of ['', '15', 'SIG', 'TERMINATE', '__proto__', 'constructor', 'toString'])
    assert.ok('error' in parseSignal(text), text);
  for (const [text, meant] of [
    ['SIGTREM', 'SIGTERM'],
    ['trem', 'SIGTERM'],
    ['hupp', 'SIGHUP'],
    ['SIGUSR3', 'SIGUSR1'],
    ['15', 'SIGTERM'],
    ['9', 'one such as'],
    ['x', 'one such as'],
    ['SIGFOO', 'one such as'],
    ['system_powerdown', 'one such as'],
  ] as const)
    assert.ok(JSON.stringify(parseSignal(text)).includes(`write ${meant}`), text);
  assert.ok(
    !trappableSignals.some((signal) =>
      ['SIGKILL', 'SIGSTOP', 'SIGCHLD', 'SIGPIPE', 'SIGIOT', 'SIGPOLL'].includes(signal),
    ),
  );
});
