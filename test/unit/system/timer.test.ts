import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { pause, startTimer, within } from '../../../src/system/timer.js';

const day = 86_400_000;

/** Puts a clock that goes as it is told in the place of Node's, with Node's rule: what setTimeout does not take is 1 ms. */
function ownClock(t: TestContext): (ms: number) => void {
  let now = 0;
  const due = new Map<object, { readonly at: number; readonly then: () => void }>();
  const [set, clear] = [globalThis.setTimeout, globalThis.clearTimeout];
  t.after(() => Object.assign(globalThis, { setTimeout: set, clearTimeout: clear }));
  Object.assign(globalThis, {
    setTimeout: (then: () => void, ms: number) => {
      const handle = { unref: () => handle };
      due.set(handle, { at: now + (ms >= 1 && ms <= 2 ** 31 - 1 ? ms : 1), then });
      return handle;
    },
    clearTimeout: (handle: object) => due.delete(handle),
  });
  return (ms) => {
    const until = now + ms;
    for (;;) {
      const [next] = [...due].filter(([, { at }]) => at <= until).sort(([, a], [, b]) => a.at - b.at);
      if (next === undefined) break;
      now = next[1].at;
      due.delete(next[0]);
      next[1].then();
    }
    now = until;
  };
}

test('a timer calls once, when its time is up, be that beyond what setTimeout takes', (t) => {
  const goOn = ownClock(t);
  for (const ms of [2, 2 ** 31 - 1, 2 ** 31, 60 * day, 300 * day]) {
    let calls = 0;
    startTimer(ms, () => calls++);
    goOn(ms - 1);
    assert.equal(calls, 0, `${ms} ms: too early`);
    goOn(1);
    assert.equal(calls, 1, `${ms} ms`);
    goOn(day);
    assert.equal(calls, 1, `${ms} ms: again`);
  }
});

test('a timer that knows no deadline never calls', (t) => {
  const goOn = ownClock(t);
  let calls = 0;
  const timer = startTimer(Infinity, () => calls++);
  goOn(1000 * day);
  assert.equal(calls, 0);
  timer.unref().cancel();
});

test('a timer that was cancelled does not call, not even in the second of its parts', (t) => {
  const goOn = ownClock(t);
  let calls = 0;
  const timer = startTimer(30 * day, () => calls++).unref();
  goOn(26 * day);
  timer.cancel();
  goOn(10 * day);
  assert.equal(calls, 0);
});

test('within is settled by what comes first', async () => {
  assert.equal(await within(60_000, Promise.resolve('done')), 'done');
  assert.equal(await within(1, new Promise(() => undefined)), undefined);
  assert.equal(
    await within(
      Infinity,
      pause(1).then(() => 'late'),
    ),
    'late',
  );
});
