import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { step } from '../../../src/dispatch/step.js';
import type { EndCause } from '../../../src/outcome/end-cause.js';
import { isExiting, type QemuEvent } from '../../../src/outcome/evidence.js';
import type { HookOutcome } from '../../../src/outcome/hook-outcome.js';
import { runStates, uselessToWait } from '../../../src/outcome/run-state.js';
import type { SignalName } from '../../../src/signals/names.js';
import type { DefaultAction } from '../../../src/rules/builtin.js';
import { type Rule, type Stage, monitorCommandOf } from '../../../src/rules/rule.js';
import type { Effect, Input } from '../../../src/dispatch/messages.js';
import { type State, initialState, nextTick } from '../../../src/dispatch/state.js';
import { answers, ends, exits, is, poweredOff, powerdown, reset, resumed, signal, stopped, up } from './play.js';

/*
 * The core alone: random days of signals, hooks, guests and clocks, and what must hold on each of them.
 */

const killAfterMs = 5_000;
const file = { path: '/hook', ours: false };

function rule(
  signal: SignalName,
  script: boolean,
  monitorCommand: string | null,
  timeoutMs: number,
  defaultAction: DefaultAction,
): Rule {
  const stages: Stage[] = script ? [{ kind: 'hook', script: file }] : [];
  if (monitorCommand !== null && monitorCommand !== 'system_powerdown')
    stages.push({ kind: 'command', line: monitorCommand });
  if (monitorCommand === 'system_powerdown' || (monitorCommand !== null && defaultAction !== 'none'))
    stages.push({ kind: 'power-button' });
  return { signal, source: 'option', stages, timeoutMs: stages.length > 0 ? timeoutMs : 0, defaultAction };
}

const anyRule = fc
  .record({
    signal: fc.constantFrom<SignalName>('SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR1', 'SIGQUIT'),
    script: fc.boolean(),
    monitorCommand: fc.constantFrom('system_powerdown', 'system_reset', null),
    timeoutMs: fc.integer({ min: 0, max: 60_000 }),
    defaultAction: fc.constantFrom<DefaultAction>('quit', 'kill', 'none'),
  })
  .map((each) => rule(each.signal, each.script, each.monitorCommand, each.timeoutMs, each.defaultAction));

const anyOutcome = fc.constantFrom<HookOutcome>({ kind: 'done' }, { kind: 'not-now' }, { kind: 'failed', why: 'so' });

const anyQemuEvent = fc.constantFrom<QemuEvent>(
  { event: 'SHUTDOWN', reason: 'guest-shutdown', byGuest: true },
  { event: 'SHUTDOWN', reason: 'host-ui', byGuest: false },
  { event: 'RESET', byGuest: true },
  { event: 'RESET', byGuest: false },
  { event: 'STOP' },
  { event: 'RESUME' },
  { event: 'GUEST_PANICKED', action: 'poweroff' },
  { event: 'WATCHDOG', action: 'reset' },
  { event: 'MIGRATION', status: 'completed' },
);

/** One rule a signal throughout a day, as qemu-trap has. */
const anyDay = fc.tuple(
  fc.uniqueArray(anyRule, { selector: (each) => each.signal, minLength: 1 }),
  fc.constantFrom<readonly number[]>([], [10_000], [500, 10_000]),
  fc.array(
    fc.oneof(
      {
        weight: 4,
        arbitrary: fc.record({ what: fc.constant('signal' as const), index: fc.nat(), atTerminal: fc.boolean() }),
      },
      {
        weight: 4,
        arbitrary: fc.record({ what: fc.constant('time' as const), ms: fc.integer({ min: 0, max: 20_000 }) }),
      },
      { weight: 3, arbitrary: fc.record({ what: fc.constant('hook-ends' as const), outcome: anyOutcome }) },
      {
        weight: 2,
        arbitrary: fc.record({
          what: fc.constant('input' as const),
          input: fc.constantFrom<Input>({ kind: 'monitor-up', runState: 'running', ageMs: 0 }, { kind: 'powerdown' }),
        }),
      },
      {
        weight: 1,
        arbitrary: fc.record({
          what: fc.constant('input' as const),
          input: fc.constantFrom(...runStates).map((runState): Input => ({ kind: 'run-state', runState })),
        }),
      },
      {
        weight: 2,
        arbitrary: fc.record({
          what: fc.constant('input' as const),
          input: anyQemuEvent.map((event): Input => ({ kind: 'qemu', event })),
        }),
      },
    ),
    { maxLength: 40 },
  ),
);

/** Plays a day to its end, and holds each step against what must always be true. */
class Day {
  now = 0;
  state: State;
  readonly hooks = new Map<SignalName, 'running' | 'told to end'>();
  readonly stageTried = new Set<SignalName>();
  quitAt: number | null = null;
  killed = false;
  /** QEMU said that it exits, and not since that it stays. */
  exitsAt: number | null = null;
  cause: EndCause | null = null;

  constructor(pressGaps: readonly number[]) {
    this.state = initialState({ killAfterMs, pressGaps, keepsGaps: false, busyTimeoutMs: null });
  }

  take(input: Input): void {
    const before = this.state;
    const { state, effects } = step(before, input, this.now);
    this.state = state;
    if (!isExiting(before.evidence) && isExiting(state.evidence)) this.exitsAt = this.now;
    if (state.shutdown !== null && before.shutdown?.since !== state.shutdown.since) this.stageTried.clear();
    for (const effect of effects) this.holdAgainst(effect, before);
  }

  private holdAgainst(effect: Effect, before: State): void {
    switch (effect.do) {
      case 'run-hook':
        this.isHeard();
        assert.notEqual(this.hooks.get(effect.signal), 'running', 'never two hooks of one signal at a time');
        this.hooks.set(effect.signal, 'running');
        return;
      case 'stop-hook':
        this.hooks.set(effect.signal, 'told to end');
        return;
      case 'press':
      case 'command':
        // The button may be pressed again beside a hook, once it was pressed at all.
        assert.ok(
          this.hooks.get(effect.signal) !== 'running' || (effect.do === 'press' && (before.shutdown?.presses ?? 0) > 0),
          'never two stages of one signal at a time',
        );
        this.isHeard();
        assert.ok(
          before.termination === null || before.termination.action === 'none',
          'nothing is asked of the guest after the default action',
        );
        this.stageTried.add(effect.signal);
        return;
      case 'quit':
      case 'kill': {
        const { termination, shutdown } = this.state;
        assert.ok(termination);
        if (effect.do === 'quit') this.isHeard();
        if (effect.do === 'kill' && termination.action === 'none') {
          assert.ok(
            this.exitsAt !== null && this.now >= this.exitsAt + killAfterMs,
            'SIGKILL only when its exit had its time',
          );
          this.killed = true;
          return;
        }
        assert.ok(shutdown, 'only a shutdown ends QEMU');
        this.cause = termination.cause;
        if (effect.do === 'kill') this.killed = true;
        else this.quitAt = this.now;
        if (effect.do === 'kill' && termination.action === 'quit') {
          assert.ok(
            this.quitAt !== null && this.now >= this.quitAt + killAfterMs,
            'SIGKILL only when quit had its time',
          );
        }
        if (termination.cause === 'deadline') {
          assert.ok(this.now >= shutdown.deadline, 'never before the deadline');
          if (before.termination === null) this.lastStageWasTried(shutdown);
        } else if (termination.cause === 'asked') {
          assert.equal(shutdown.rule.stages.length, 0);
        } else if (
          before.termination === null &&
          termination.cause !== 'cut' &&
          termination.cause !== 'powered-off' &&
          termination.cause !== 'going'
        ) {
          assert.equal(
            uselessToWait(this.state.evidence.runState),
            termination.cause,
            'at once only if no wait is of any use',
          );
        }
        return;
      }
      default:
        return;
    }
  }

  /** After SHUTDOWN, until STOP or a guest that runs again, nothing is said to QEMU. */
  private isHeard(): void {
    assert.ok(!isExiting(this.state.evidence), 'nothing is said to a QEMU that exits');
  }

  private lastStageWasTried({ rule, isPressed }: NonNullable<State['shutdown']>): void {
    if (monitorCommandOf(rule) === null || !this.state.monitorUp) return;
    assert.ok(this.stageTried.has(rule.signal) || isPressed, 'the last stage is always tried before a forced end');
  }

  /** Lets the clock go on, with a tick whenever one is asked for. */
  pass(ms: number): void {
    const until = this.now + ms;
    for (;;) {
      const next = nextTick(this.state);
      if (next > until) break;
      this.now = Math.max(this.now, next);
      this.take({ kind: 'tick' });
      assert.ok(nextTick(this.state) > this.now, 'a tick always moves the next one on');
    }
    this.now = until;
  }

  endHooks(outcome: HookOutcome): void {
    for (const signal of [...this.hooks.keys()]) {
      this.hooks.delete(signal);
      this.take({ kind: 'hook-exit', signal });
      this.take({ kind: 'hook-end', signal, outcome });
    }
  }
}

test('a random day: it always ends, one stage at a time, no quit before its time, the last stage always tried', () => {
  fc.assert(
    fc.property(anyDay, ([rules, gaps, happenings]) => {
      const day = new Day(gaps);
      for (const happening of happenings) {
        // Time passes in the same turn for ticks that are due already.
        day.pass(0);
        if (happening.what === 'time') day.pass(happening.ms);
        else if (happening.what === 'hook-ends') day.endHooks(happening.outcome);
        else if (happening.what === 'input') day.take(happening.input);
        else
          day.take({
            kind: 'signal',
            times: 1,
            rule: rules[happening.index % rules.length] as Rule,
            atTerminal: happening.atTerminal,
          });
      }
      // From here on nobody does anything: no hook ends, no guest goes, QEMU does not react.
      const { shutdown, termination } = day.state;
      if (shutdown === null && termination === null) return;
      const bound =
        Math.max(termination === null ? (shutdown?.deadline ?? 0) : termination.killAt, day.now) + killAfterMs;
      day.pass(Math.max(0, bound - day.now) + 1);
      assert.ok(day.killed, 'it always ends');
    }),
    { numRuns: 50_000, seed: 20261123 },
  );
});

test('a repeated SIGTERM never brings the end nearer', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 5_000 }), { maxLength: 30 }), (gaps) => {
      const term = rule('SIGTERM', true, 'system_powerdown', 60_000, 'quit');
      const day = new Day([10_000]);
      day.take({ kind: 'monitor-up', runState: 'running', ageMs: 0 });
      day.take({ kind: 'signal', times: 1, rule: term, atTerminal: false });
      for (const gap of gaps) {
        day.pass(gap);
        if (day.now < 60_000) day.take({ kind: 'signal', times: 1, rule: term, atTerminal: false });
        assert.equal(day.quitAt === null, day.now < 60_000);
      }
    }),
    { seed: 20261123 },
  );
});

const term = rule('SIGTERM', false, 'system_powerdown', 60_000, 'quit');
const running = up();

/** What is done on each of these inputs, one a second from 1 s on. */
function doneOn(...inputs: readonly Input[]): { state: State; done: string[][] } {
  let state = initialState({ killAfterMs, pressGaps: [], keepsGaps: false, busyTimeoutMs: null });
  const done = inputs.map((input, i) => {
    const stepped = step(state, input, (i + 1) * 1_000);
    state = stepped.state;
    // When the button is read has stories of its own.
    return stepped.effects.map((effect) => effect.do).filter((what) => !what.endsWith('-button'));
  });
  return { state, done };
}

test('a QEMU that says it exits is left alone, and killed when the time to kill is over, with a signal or without one', () => {
  for (const before of [[running], [running, signal(term)]]) {
    const { state, done } = doneOn(...before, poweredOff);
    assert.deepEqual(done.at(-1), before.length === 1 ? [] : ['silence-hooks']);
    const exitsAt = (before.length + 1) * 1_000;
    assert.equal(nextTick(state), exitsAt + killAfterMs);
    assert.deepEqual(
      step(state, { kind: 'tick' }, exitsAt + killAfterMs).effects.map((effect) => effect.do),
      ['kill'],
    );
  }
});

test('a QEMU that stays after its guest is told to quit in a shutdown, and left as it is without one', () => {
  assert.deepEqual(doneOn(running, signal(term), poweredOff, stopped).done.at(-1), ['quit']);
  const left = doneOn(running, poweredOff, stopped);
  assert.deepEqual(left.done.at(-1), []);
  assert.equal(nextTick(left.state), Infinity);
  // A signal between the two must not be lost.
  for (const each of [term, rule('SIGQUIT', false, null, 0, 'quit')]) {
    const { done } = doneOn(running, poweredOff, signal(each), stopped);
    assert.deepEqual(done.slice(-2), [[], ['quit']], each.signal);
  }
});

test('the button follows a monitor command that fails, and in the reserve one that succeeded', () => {
  const saves = rule('SIGTERM', false, 'savevm nightly', 20_000, 'quit');
  assert.deepEqual(doneOn(running, signal(saves), answers('SIGTERM', false)).done.slice(1), [['command'], ['press']]);
  const later: Input[] = Array.from({ length: 14 }, () => ({ kind: 'tick' }));
  const { done } = doneOn(running, signal(saves), answers('SIGTERM', true), ...later);
  assert.deepEqual(done.slice(1, 3), [['command'], []]);
  // Two seconds in, with 20 to go: the reserve begins 5 seconds before the end.
  assert.deepEqual(
    done.flatMap((each, i) => (each.includes('press') ? [i + 1] : [])),
    [17],
  );
  // monitorcommand=none has neither.
  const none = rule('SIGTERM', true, null, 20_000, 'quit');
  assert.deepEqual(
    doneOn(running, signal(none), ends('SIGTERM', 'failed'), ...later, ...later)
      .done.flat()
      .filter((each) => each === 'press' || each === 'command'),
    [],
  );
});

test("time in which qemu-trap stood still is not the guest's, and the button has its whole reserve", () => {
  const fourSeconds = rule('SIGTERM', true, 'system_powerdown', 4_000, 'quit');
  let state = step(
    initialState({ killAfterMs, pressGaps: [10_000], keepsGaps: false, busyTimeoutMs: null }),
    running,
    0,
  ).state;
  state = step(state, signal(fourSeconds), 0).state;
  const done: [number, string[]][] = [];
  // Frozen from 1 s to 5 s.
  for (let now = 1_000; now < 20_000; now = now === 1_000 ? 5_000 : now + 500) {
    const stepped = step(state, { kind: 'tick' }, now);
    state = stepped.state;
    const what = stepped.effects.flatMap((effect) =>
      effect.do === 'press' || effect.do === 'quit' || effect.do === 'kill' ? [effect.do] : [],
    );
    if (what.length > 0) done.push([now, what]);
  }
  assert.deepEqual(done, [
    [7_000, ['press']],
    [8_000, ['quit']],
    [13_000, ['kill']],
  ]);
});

test('a guest that is started again after its power-off (the hook reboot) is no shutdown', () => {
  const again = doneOn(running, poweredOff, stopped, reset(false), resumed);
  assert.deepEqual(again.done.flat(), []);
  assert.equal(again.state.evidence.shutdown, null);
  assert.equal(nextTick(again.state), Infinity);
});

test('a signal that comes when its hook has exited runs the hook again: none stood for it', () => {
  const pause = rule('SIGUSR1', true, null, 60_000, 'none');
  const usr1 = signal(pause);
  const [exit, end] = [exits('SIGUSR1'), ends('SIGUSR1', 'done')];
  assert.deepEqual(
    doneOn(running, usr1, usr1, exit, end).done.flat(),
    ['run-hook'],
    'one stands for those that come while it runs',
  );
  assert.deepEqual(doneOn(running, usr1, exit, usr1, usr1, end).done.flat(), ['run-hook', 'run-hook']);
});

test('in the reserve the button does not wait for the answer to a command', () => {
  const both = rule('SIGTERM', true, 'savevm nightly', 8_000, 'quit');
  const ticks: Input[] = Array.from({ length: 6 }, () => ({ kind: 'tick' }));
  assert.deepEqual(doneOn(running, signal(both), ends('SIGTERM', 'done'), ...ticks).done.flat(), [
    'run-hook',
    'command',
    'press',
  ]);
  const late = doneOn(running, signal(both), ends('SIGTERM', 'failed'), ...ticks);
  assert.deepEqual(late.done.flat(), ['run-hook', 'command', 'press']);
  assert.deepEqual(late.done[2], ['command']);
});

test('"not now" calls a shutdown off before the first press, and not after it, though the guest has reset since', () => {
  const hooked = rule('SIGTERM', true, 'system_powerdown', 60_000, 'quit');
  const [term, notNow] = [signal(hooked), ends('SIGTERM', 'not-now')];
  assert.equal(doneOn(running, term, notNow).state.shutdown, null);
  assert.notEqual(doneOn(running, term, powerdown, notNow).state.shutdown, null);
  assert.notEqual(doneOn(running, term, powerdown, reset(), notNow).state.shutdown, null);
});

test('a signal that comes while QEMU exits runs its hook if the guest comes back, as soon as QEMU says how it is', () => {
  const hooked = rule('SIGTERM', true, 'system_powerdown', 60_000, 'quit');
  assert.deepEqual(doneOn(running, poweredOff, signal(hooked), resumed).done.flat(), ['run-hook']);
  assert.deepEqual(doneOn(running, is('shutdown'), poweredOff, signal(hooked), resumed, is('running')).done.slice(-2), [
    ['ask-run-state'],
    ['run-hook'],
  ]);
});

test('a signal that came during a shutdown which its hook then calls off begins its own', () => {
  const hooked = rule('SIGTERM', true, 'system_powerdown', 60_000, 'quit');
  const power = rule('SIGPWR', false, 'system_powerdown', 60_000, 'quit');
  const { state, done } = doneOn(running, signal(hooked), signal(power), ends('SIGTERM', 'not-now'));
  assert.deepEqual(done.slice(1), [['run-hook'], [], ['press']]);
  assert.equal(state.shutdown?.rule.signal, 'SIGPWR');
});

test('a hook that presses under monitorcommand=none has its second press in the last quarter, and not at the deadline', () => {
  const bare = rule('SIGTERM', true, null, 8_000, 'quit');
  let state = step(
    initialState({ killAfterMs, pressGaps: [60_000], keepsGaps: false, busyTimeoutMs: null }),
    running,
    0,
  ).state;
  const at: string[] = [];
  for (const [now, input] of [
    [0, signal(bare)],
    [100, powerdown],
    ...Array.from({ length: 16 }, (_, i): [number, Input] => [(i + 1) * 500, { kind: 'tick' }]),
  ] as [number, Input][]) {
    const stepped = step(state, input, now);
    state = stepped.state;
    for (const effect of stepped.effects)
      if (effect.do === 'press' || effect.do === 'quit') at.push(`${effect.do} ${now}`);
  }
  assert.deepEqual(at, ['press 6000', 'quit 8000']);
});
