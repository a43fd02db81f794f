import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { initialState, nextTick, step, uselessToWait, type Action, type Input, type State } from '../src/dispatch.js';
import type { EndCause, HookOutcome } from '../src/outcome.js';
import type { Rule } from '../src/rules.js';
import type { DefaultAction, SignalName } from '../src/signals.js';

/*
 * The core alone: random days of signals, hooks, guests and clocks, and what must hold on each of them.
 */

const killAfterMs = 5_000;
const file = { path: '/hook', ours: false };

function rule(signal: SignalName, script: boolean, monitorCommand: string | null, timeoutMs: number, defaultAction: DefaultAction): Rule {
  return { signal, source: 'option', script: script ? file : null, monitorCommand, timeoutMs: script || monitorCommand ? timeoutMs : 0, defaultAction };
}

const anyRule = fc.record({
  signal: fc.constantFrom<SignalName>('SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR1', 'SIGQUIT'),
  script: fc.boolean(),
  monitorCommand: fc.constantFrom('system_powerdown', 'system_reset', null),
  timeoutMs: fc.integer({ min: 0, max: 60_000 }),
  defaultAction: fc.constantFrom<DefaultAction>('quit', 'kill', 'none'),
}).map((each) => rule(each.signal, each.script, each.monitorCommand, each.timeoutMs, each.defaultAction));

const anyOutcome = fc.constantFrom<HookOutcome>({ kind: 'done' }, { kind: 'not-now' }, { kind: 'failed', why: 'so' });

const guestStates = ['running', 'paused', 'suspended', ...Object.keys(uselessToWait)];

/** One rule a signal throughout a day, as qemu-trap has. */
const anyDay = fc.tuple(
  fc.uniqueArray(anyRule, { selector: (each) => each.signal, minLength: 1 }),
  fc.constantFrom<readonly number[]>([], [10_000], [500, 10_000]),
  fc.array(
    fc.oneof(
      { weight: 4, arbitrary: fc.record({ what: fc.constant('signal' as const), index: fc.nat(), atTerminal: fc.boolean() }) },
      { weight: 4, arbitrary: fc.record({ what: fc.constant('time' as const), ms: fc.integer({ min: 0, max: 20_000 }) }) },
      { weight: 3, arbitrary: fc.record({ what: fc.constant('hook-ends' as const), outcome: anyOutcome }) },
      { weight: 2, arbitrary: fc.record({ what: fc.constant('input' as const), input: fc.constantFrom<Input>({ kind: 'monitor-up', guest: 'running' }, { kind: 'powerdown' }, { kind: 'reset', byGuest: true }, { kind: 'reset', byGuest: false }) }) },
      { weight: 1, arbitrary: fc.record({ what: fc.constant('input' as const), input: fc.constantFrom(...guestStates).map((guest): Input => ({ kind: 'guest', guest })) }) },
      { weight: 1, arbitrary: fc.record({ what: fc.constant('input' as const), input: fc.constant<Input>({ kind: 'shutdown', byGuest: true }) }) },
    ),
    { maxLength: 40 },
  ),
);

/** Plays a day to its end, and holds each step against what must always be true. */
class Day {
  now = 0;
  state: State;
  readonly hooks = new Map<SignalName, 'running' | 'told to end'>();
  readonly linkTried = new Set<SignalName>();
  quitAt: number | null = null;
  killed = false;
  cause: EndCause | null = null;

  constructor(pressGaps: readonly number[]) {
    this.state = initialState({ killAfterMs, pressGaps });
  }

  take(input: Input): void {
    const before = this.state;
    const { state, actions } = step(before, input, this.now);
    this.state = state;
    if (state.stop !== null && before.stop?.since !== state.stop.since) this.linkTried.clear();
    for (const action of actions) this.holdAgainst(action, before);
  }

  private holdAgainst(action: Action, before: State): void {
    switch (action.do) {
      case 'run-hook':
        assert.notEqual(this.hooks.get(action.rule.signal), 'running', 'never two hooks of one signal at a time');
        this.hooks.set(action.rule.signal, 'running');
        return;
      case 'end-hook':
        this.hooks.set(action.signal, 'told to end');
        return;
      case 'press':
      case 'command':
        assert.notEqual(this.hooks.get(action.signal), 'running', 'never two links of one signal at a time');
        assert.ok(before.end === null, 'nothing is asked of the guest after the default action');
        this.linkTried.add(action.signal);
        return;
      case 'quit':
      case 'kill': {
        const { end } = this.state;
        const stop = this.state.stop;
        assert.ok(end && stop, 'only a shutdown ends QEMU');
        this.cause = end.cause;
        if (action.do === 'kill') this.killed = true;
        else this.quitAt = this.now;
        if (action.do === 'kill' && end.action === 'quit') {
          assert.ok(this.quitAt !== null && this.now >= this.quitAt + killAfterMs, 'SIGKILL only when quit had its time');
        }
        if (end.cause === 'deadline') {
          assert.ok(this.now >= stop.deadline, 'never before the deadline');
          if (before.end === null) this.lastLinkWasTried(stop);
        } else if (end.cause === 'asked') {
          assert.ok(stop.rule.script === null && stop.rule.monitorCommand === null);
        } else if (before.end === null && end.cause !== 'cut' && end.cause !== 'powered-off') {
          assert.equal(uselessToWait[this.state.guest], end.cause, 'at once only where no wait is of any use');
        }
        return;
      }
      default:
        return;
    }
  }

  private lastLinkWasTried(stop: NonNullable<State['stop']>): void {
    const { signal, monitorCommand } = stop.rule;
    if (monitorCommand === null || !this.state.monitorUp) return;
    const hookPressed = stop.powerdown;
    assert.ok(this.linkTried.has(signal) || hookPressed, 'the last link is always tried before a forced end');
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
      this.take({ kind: 'hook-end', signal, outcome });
    }
  }
}

test('a random day: it always ends, one link at a time, no quit before its time, the last link always tried', () => {
  fc.assert(
    fc.property(anyDay, ([rules, gaps, happenings]) => {
      const day = new Day(gaps);
      for (const happening of happenings) {
        // Time passes in the same turn for ticks that are due already.
        day.pass(0);
        if (happening.what === 'time') day.pass(happening.ms);
        else if (happening.what === 'hook-ends') day.endHooks(happening.outcome);
        else if (happening.what === 'input') day.take(happening.input);
        else day.take({ kind: 'signal', times: 1, rule: rules[happening.index % rules.length] as Rule, atTerminal: happening.atTerminal });
      }
      // From here on nobody does anything: no hook ends, no guest goes, QEMU does not react.
      const { stop, end } = day.state;
      if (stop === null) return;
      const bound = (end === null ? stop.deadline : Math.max(end.killAt, day.now)) + killAfterMs;
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
      day.take({ kind: 'monitor-up', guest: 'running' });
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

test('SIGQUIT when the guest has powered off, and QEMU does not go: what was left for the guest is not waited for', () => {
  const ofTerm = rule('SIGTERM', false, 'system_powerdown', 60_000, 'quit');
  const inputs: readonly Input[] = [
    { kind: 'monitor-up', guest: 'running' },
    { kind: 'signal', rule: ofTerm, times: 1, atTerminal: false },
    { kind: 'powerdown' },
    { kind: 'shutdown', byGuest: true },
  ];
  let state = initialState({ killAfterMs, pressGaps: [] });
  for (const input of inputs) state = step(state, input, 1_000).state;
  assert.equal(nextTick(state), 61_000 + killAfterMs);
  state = step(state, { kind: 'signal', rule: rule('SIGQUIT', false, null, 0, 'quit'), times: 1, atTerminal: false }, 2_000).state;
  assert.equal(nextTick(state), 2_000 + killAfterMs);
  assert.deepEqual(step(state, { kind: 'tick' }, 2_000 + killAfterMs).actions.map((action) => action.do), ['tell', 'kill']);
});
