import assert from 'node:assert/strict';
import type { Effect, Input, Notice } from '../../../src/dispatch/messages.js';
import {
  type ButtonWatch,
  type Chain,
  type Limits,
  type Shutdown,
  type State,
  isFinal,
} from '../../../src/dispatch/state.js';
import { isLate } from '../../../src/outcome/end-cause.js';
import { isExiting, type QemuEvent } from '../../../src/outcome/evidence.js';
import type { HookOutcome } from '../../../src/outcome/hook-outcome.js';
import { uselessToWait } from '../../../src/outcome/run-state.js';
import type { Rule, Stage } from '../../../src/rules/rule.js';
import { describeState, isUnderWay } from '../../../src/service-manager/status-text.js';
import type { SignalName } from '../../../src/signals/names.js';
import { servingOf } from '../../../src/status/progress.js';
import { found, shows, up } from './play.js';

/*
 * The core, explored whole: every sequence of inputs up to a depth, from an alphabet that has one of each kind. States
 * that differ only in when they came about are one state. What must hold is asserted at every step.
 */

/** The functions of the core. Mutants have the same. */
export interface Core {
  initialState(limits: Limits): State;
  nextTick(state: State): number;
  step(
    before: State,
    input: Input,
    now: number,
  ): { readonly state: State; readonly effects: readonly Effect[]; readonly notices: readonly Notice[] };
}

/** The state of the core, and of what it has set going. */
interface World {
  readonly state: State;
  readonly now: number;
  readonly hooks: ReadonlyMap<SignalName, 'running' | 'exited' | 'stopping'>;
  /** Commands that QEMU has not answered, as `SIGNAL command` or `SIGNAL press`. */
  readonly asked: ReadonlySet<string>;
  /** Stages of the shutdown that had their turn, be it by a hook's doing. */
  readonly turns: ReadonlySet<Stage['kind']>;
  /** QEMU was asked for its run state by the shutdown, and has not answered. */
  readonly isAsking: boolean;
  /** The registers of the button are being looked up, or read. */
  readonly sought: 'nothing' | 'place' | 'registers';
  /** QEMU was asked what its disks have done. */
  readonly isReadingDisks: boolean;
  /** When they were read in the last second. */
  readonly readAt: readonly number[];
  /** The service manager was told that the shutdown cannot be called off. */
  readonly isStopping: boolean;
  /** The last input had no effect. */
  readonly isQuiet: boolean;
}

type Move = {
  readonly name: string;
  readonly inputs: readonly Input[];
  /** How long after the last one it comes. */
  readonly ms: number;
  /** Ticks in time follow until one of them has an effect. */
  readonly untilEffect?: boolean;
};

export interface Exploration {
  readonly states: number;
  readonly transitions: number;
  /** How many states were met first at each depth. */
  readonly byDepth: readonly number[];
}

const qemuEvents: readonly QemuEvent[] = [
  { event: 'SHUTDOWN', reason: 'guest-shutdown', byGuest: true },
  { event: 'SHUTDOWN', reason: 'host-ui', byGuest: false },
  { event: 'STOP' },
  { event: 'RESUME' },
  { event: 'RESET', byGuest: true },
  { event: 'GUEST_PANICKED', action: 'poweroff' },
];
const outcomes: readonly HookOutcome[] = [{ kind: 'done' }, { kind: 'not-now' }, { kind: 'failed', why: 'so' }];
const places = ['placed', 'not-placed', null] as const;
const runStates = ['running', 'paused', 'shutdown', 'guest-panicked'];
/** As late as a tick may come without being lost time: with the time between two of them two seconds. */
const lateMs = 1_000;
const lostMs = 5_000;
/** Time that passes without a tick. On this grid fewer states differ in nothing but some milliseconds. */
const gridMs = 500;
/** Of those that are explored. */
const longestGapMs = 2_000;
/** A shutdown without any effect lasts for fewer. */
const mostTicks = 40;

function* movesOf(
  { state, now, hooks, asked, sought, isReadingDisks }: World,
  rules: readonly Rule[],
  shown: readonly string[],
  core: Core,
): Generator<Move> {
  const atOnce = (name: string, ...inputs: Input[]): Move => ({ name, inputs, ms: 0 });
  for (const rule of rules)
    yield atOnce(rule.signal, { kind: 'signal', rule, times: 1, atTerminal: rule.signal === 'SIGINT' });
  if (!state.monitorUp) {
    for (const runState of ['running', 'paused']) yield atOnce(`up ${runState}`, up(runState));
  } else {
    for (const runState of runStates) yield atOnce(runState, { kind: 'run-state', runState });
    yield atOnce('POWERDOWN', { kind: 'powerdown' });
    for (const event of qemuEvents)
      yield atOnce(`${event.event}${'reason' in event ? ` ${event.reason}` : ''}`, { kind: 'qemu', event });
  }
  for (const [signal, how] of hooks) {
    const exit: Input = { kind: 'hook-exit', signal };
    if (how === 'running') yield atOnce(`${signal} hook exits`, exit);
    for (const outcome of how === 'stopping' ? outcomes.slice(2) : outcomes) {
      const end: Input = { kind: 'hook-end', signal, outcome };
      yield atOnce(`${signal} hook ${outcome.kind}`, ...(how === 'exited' ? [end] : [exit, end]));
    }
  }
  for (const each of asked) {
    const [signal, what] = each.split(' ') as [SignalName, string];
    for (const ok of [true, false])
      yield atOnce(`${each} ${ok}`, { kind: 'command-end', signal, ok, isPress: what === 'press' });
  }
  if (sought === 'place') for (const each of places) yield atOnce(`button ${each}`, found(each));
  if (sought === 'registers') for (const each of shown) yield atOnce(`button ${each}`, shows(each));
  if (isReadingDisks) {
    const { operations, bytes } = state.shutdown?.disks.last ?? { operations: 1, bytes: 0 };
    for (const more of [0, 1]) {
      const writes = { operations: operations + more, bytes: bytes + more };
      yield atOnce(more > 0 ? 'disks wrote' : 'disks idle', { kind: 'disks', writes });
    }
    yield atOnce('disks no answer', { kind: 'disks', writes: null });
  }
  if (shown.length > 0 && state.monitorUp) yield atOnce('WAKEUP', { kind: 'wakeup' });
  const next = core.nextTick(state);
  if (next === Infinity) return;
  const due = Math.max(0, next - now);
  const inputs: readonly Input[] = [{ kind: 'tick' }];
  yield { name: 'ticks', inputs, ms: due, untilEffect: true };
  yield { name: 'late tick', inputs, ms: due + lateMs };
  yield { name: 'lost time', inputs, ms: due + lostMs };
  if (due > gridMs) yield { name: 'time', inputs: [], ms: gridMs };
}

function move(world: World, what: Move, isRead: boolean, core: Core): World {
  let reached = play(world, what, isRead, core);
  for (let ticks = 0; what.untilEffect && reached.isQuiet && ticks < mostTicks; ticks++) {
    const next = core.nextTick(reached.state);
    if (next === Infinity) break;
    reached = play(reached, { ...what, ms: next - reached.now }, isRead, core);
  }
  return reached;
}

/**
 * What the core does on one move, held against what must always be true.
 * @param isRead if not, the button of the machine cannot be read
 */
function play(world: World, { inputs, ms }: Move, isRead: boolean, core: Core): World {
  let { state, isAsking, isStopping, sought, readAt, isReadingDisks } = world;
  let isQuiet = true;
  const now = world.now + ms;
  const hooks = new Map(world.hooks);
  const asked = new Set(world.asked);
  const turns = new Set(world.turns);
  for (const input of inputs) {
    const before = state;
    const { state: after, effects, notices } = core.step(before, input, now);
    state = after;
    if (effects.length > 0) isQuiet = false;
    if (input.kind === 'hook-exit' && hooks.get(input.signal) === 'running') hooks.set(input.signal, 'exited');
    if (input.kind === 'hook-end') hooks.delete(input.signal);
    if (input.kind === 'disks') isReadingDisks = false;
    if (input.kind === 'button-place') sought = 'nothing';
    if (input.kind === 'button') {
      sought = 'nothing';
      holdPressWhenHeard(before, after, effects);
    }
    if (input.kind === 'command-end') asked.delete(`${input.signal} ${input.isPress ? 'press' : 'command'}`);
    // An answer in the reserve comes too late for the hook.
    if (input.kind === 'run-state' && before.shutdown?.reserveCame !== true) isAsking = false;
    if (after.shutdown === null || after.shutdown.since !== before.shutdown?.since) {
      turns.clear();
      isAsking = false;
      if (after.shutdown === null) {
        const dropped = notices.some(({ event }) => event === 'dropped');
        assert.ok(!(isStopping && dropped), 'a shutdown that the service manager was told of is not called off');
        isStopping = false;
      }
    }
    if (input.kind === 'powerdown' && after.shutdown !== null) turns.add('power-button');
    for (const effect of effects) {
      holdEffect(effect, before, after, input, now, hooks, asked, turns);
      if (effect.do === 'ask-run-state') isAsking = true;
      if (effect.do === 'read-disks') isReadingDisks = true;
      if (effect.do !== 'read-button' && effect.do !== 'look-up-button') continue;
      assert.equal(sought, 'nothing', 'one reading at a time');
      sought = effect.do === 'read-button' ? 'registers' : 'place';
      if (effect.do === 'look-up-button') continue;
      readAt = [...readAt.filter((at) => at > now - 1_000), now];
      assert.ok(readAt.length <= 10, 'ten readings a second at most');
    }
    if (sought !== 'nothing' && !isRead) {
      sought = 'nothing';
      state = core.step(state, found('unreadable'), now).state;
    }
    if (input.kind === 'tick') holdMoreTime(before, after, now);
    if (after.termination !== null && before.termination === null && isLate(after.termination.cause))
      holdTurns(after, turns, isAsking);
    if (isUnderWay(after)) isStopping = true;
    assert.doesNotThrow(() => [servingOf(after), describeState(after, now)]);
  }
  const next = core.nextTick(state);
  if (inputs[0]?.kind === 'tick') assert.ok(next > now, 'a tick moves the next one on');
  if (state.termination === null ? state.shutdown !== null : !state.termination.killed)
    assert.ok(next < Infinity, 'what is to end QEMU is waited for');
  return { state, now, hooks, asked, turns, isAsking, sought, isReadingDisks, readAt, isStopping, isQuiet };
}

function holdEffect(
  effect: Effect,
  before: State,
  after: State,
  input: Input,
  now: number,
  hooks: Map<SignalName, 'running' | 'exited' | 'stopping'>,
  asked: Set<string>,
  turns: Set<Stage['kind']>,
): void {
  const says = [
    'run-hook',
    'press',
    'let-go-on',
    'command',
    'ask-run-state',
    'look-up-button',
    'read-button',
    'read-disks',
    'quit',
  ].includes(effect.do);
  if (says) assert.ok(!isExiting(after.evidence), `nothing is said to a QEMU that exits (${effect.do})`);
  const isOfGuest = [
    'run-hook',
    'press',
    'let-go-on',
    'command',
    'look-up-button',
    'read-button',
    'read-disks',
  ].includes(effect.do);
  if (isOfGuest)
    assert.ok(
      before.termination === null || before.termination.action === 'none',
      'nothing is asked of the guest after the default action',
    );
  switch (effect.do) {
    case 'run-hook':
      assert.notEqual(hooks.get(effect.signal), 'running', 'never two hooks of one signal at a time');
      hooks.set(effect.signal, 'running');
      if (after.shutdown?.rule.signal === effect.signal) turns.add('hook');
      return;
    case 'stop-hook':
      if (hooks.has(effect.signal)) hooks.set(effect.signal, 'stopping');
      return;
    case 'look-up-button':
    case 'read-button':
      assert.ok(after.shutdown, 'the button is read in a shutdown only');
      assert.ok(!after.shutdown.isPressing && now < after.shutdown.nextPressAt, 'and not while a press is due');
      assert.ok(after.shutdown.presses > 0, 'and not before the first press');
      return;
    case 'read-disks':
      assert.ok(after.shutdown?.busyUntil, 'the disks are asked about only if that may give more time');
      assert.ok(now >= after.shutdown.since + after.shutdown.rule.timeoutMs - 15_000, 'and in the last 15 s');
      return;
    case 'command':
    case 'press':
      if (
        effect.do === 'press' &&
        input.kind === 'tick' &&
        before.shutdown?.reserveCame === after.shutdown?.reserveCame
      )
        assert.notEqual(after.button.evidence.press, 'pending', 'a press is not repeated before it is taken');
      asked.add(`${effect.signal} ${effect.do}`);
      if (after.shutdown?.rule.signal === effect.signal) turns.add(effect.do === 'press' ? 'power-button' : 'command');
      return;
    case 'quit':
    case 'kill':
      return holdEnd(effect.do, before, after, input, now);
    default:
      return;
  }
}

/** A guest that was deaf after its last press, and listens now, is pressed before anything else is asked. */
function holdPressWhenHeard(before: State, after: State, effects: readonly Effect[]): void {
  const { evidence: was } = before.button;
  if (before.shutdown === null || after.termination !== null) return;
  const { listens, press } = after.button.evidence;
  const wasDeaf = was.listens === false && was.press === 'lost';
  if (!wasDeaf || !listens || press === 'pending' || before.shutdown.isPressing) return;
  assert.deepEqual(
    effects.map((effect) => effect.do),
    ['press'],
    'a guest is pressed as soon as it listens',
  );
}

/** QEMU is told to quit, or killed: in time, and for a reason that the contract has. */
function holdEnd(what: 'quit' | 'kill', before: State, after: State, input: Input, now: number): void {
  const { termination, shutdown } = after;
  assert.ok(termination, 'an end has its cause');
  if (before.termination !== null && what === 'kill') {
    assert.ok(now >= before.termination.killAt, 'SIGKILL comes when the time to it is over');
    return;
  }
  if (before.termination !== null) {
    assert.ok(
      !isExiting(after.evidence) && before.termination.action === 'none',
      'quit again only to a QEMU that stays',
    );
    return;
  }
  assert.ok(shutdown, 'only a shutdown stops QEMU');
  const { cause } = termination;
  if (isLate(cause)) holdLate(shutdown, now);
  else if (cause === 'asked') assert.equal(shutdown.rule.stages.length, 0, 'at once only if nothing was to be asked');
  else if (cause === 'cut') assert.ok(input.kind === 'signal', 'cut short by a signal only');
  else assert.equal(uselessToWait(after.evidence.runState), cause, 'at once only if no wait is of any use');
}

/** At the deadline a guest is given more time only if its disks are still written, and to the end of that time at most. */
function holdMoreTime(
  { shutdown, termination }: State,
  { termination: ends, shutdown: after }: State,
  now: number,
): void {
  if (shutdown === null || termination !== null || after === null || after.lostMs > shutdown.lostMs) return;
  const { deadline, busyUntil, disks } = shutdown;
  if (now < deadline || (busyUntil !== null && now < busyUntil && now - disks.wroteAt < 15_000)) return;
  assert.ok(ends, 'a guest that writes no more has no more time');
}

/** Not before the deadline, and not while the disks are still written and there is time for that. */
function holdLate({ since, rule, lostMs, busyUntil, disks }: Shutdown, now: number): void {
  assert.ok(now >= since + rule.timeoutMs + lostMs, 'not before the deadline');
  assert.ok(busyUntil === null || now >= busyUntil || now - disks.wroteAt >= 15_000, 'not while it still writes');
}

/** At a forced end every stage had its turn. A QEMU that does not say how its guest is gets no hook. */
function holdTurns({ shutdown, monitorUp }: State, turns: ReadonlySet<Stage['kind']>, isAsking: boolean): void {
  if (!monitorUp || shutdown === null) return;
  for (const { kind } of shutdown.rule.stages) {
    if (kind === 'hook' && isAsking) continue;
    // A hook that pressed the button itself is left alone with its guest.
    if (kind === 'command' && turns.has('power-button')) continue;
    assert.ok(turns.has(kind), `the stage ${kind} had its turn before the forced end`);
  }
}

/** Of a shutdown: what has a part in what comes. */
function shutdownKey(s: Shutdown, { state: { termination }, now }: World): string {
  const noticed = [...s.noticed].sort();
  // Nobody comes back from there, and the times and presses of the shutdown are over.
  if (termination !== null && isFinal(termination)) return [s.rule.signal, s.at, s.repeats > 0, noticed].join();
  return [
    chainKey(s, now),
    since(s.reserveAt, now),
    s.reserveCame,
    since(s.seenAt, now),
    s.busyUntil === null ? 'b' : busyKey(s, now),
    s.lostMs,
    s.hasReserveAgain,
    s.isPressed,
    Math.min(s.presses, 3),
    s.isPressing,
    since(s.nextPressAt, now),
    since(Math.max(now, s.goesOnAt), now),
    s.ctrlCAt === null ? 'n' : Math.min(1_000, now - s.ctrlCAt),
    noticed,
    '#',
    [...s.waiting.keys()],
  ].join();
}

/** How much the disks have done says nothing, but when. */
function busyKey({ busyUntil, disks, disksReadAt, isReadingDisks, isExtended }: Shutdown, now: number): string {
  const readAt = since(Math.max(now, disksReadAt), now);
  return [
    since(busyUntil ?? 0, now),
    disks.last !== null,
    now - disks.wroteAt,
    readAt,
    isReadingDisks,
    isExtended,
  ].join();
}

function buttonKey(button: ButtonWatch, now: number): string {
  const { evidence, isPlaced, asked, nextReadAt, told } = button;
  const { machine, listens, press } = evidence;
  const next = since(Math.max(now, nextReadAt), now);
  return [machine, listens, press, isPlaced, asked, next, told].join();
}

const since = (time: number, now: number): string => (time === Infinity ? 'i' : String(Math.round(time - now)));

function chainKey({ rule, at, begun, repeats, hasExited, isWantedAgain, deadline }: Chain, now: number): string {
  return [rule.signal, at, begun, repeats > 0, hasExited, isWantedAgain, since(deadline, now)].join();
}

/** With times relative to now, and without what has no part in what comes. */
function keyOf(world: World): string {
  const { state, now, hooks, asked, turns, isAsking, sought, isReadingDisks, isStopping } = world;
  const { shutdown: s, termination: t, evidence: e } = state;
  const parts = [
    state.monitorUp,
    e.runState,
    e.guestRan,
    e.shutdown && `${e.shutdown.reason}${e.shutdown.byGuest}`,
    e.stays,
    e.panicked,
    e.exitsOnPanic,
    s && shutdownKey(s, world),
    // A termination that is not taken back ends the watch.
    s === null || (t !== null && isFinal(t)) ? 'b' : buttonKey(state.button, now),
    // More than the longest gap between presses makes no difference.
    s === null || (t !== null && isFinal(t)) ? 'l' : Math.min(longestGapMs, now - state.listensSince),
    t && `${t.action},${t.cause},${since(t.killAt, now)},${t.killed},${since(t.abandonAt, now)}`,
    ...[...state.chains.values()].map((chain) => chainKey(chain, now)).sort(),
    '#',
    ...[...state.ignored].map(([signal, { until, more }]) => `${signal}${since(until, now)}${more > 0}`).sort(),
    '#',
    ...[...hooks].map((each) => each.join()).sort(),
    '#',
    ...[...asked].sort(),
    '#',
    ...[...turns].sort(),
    isAsking,
    sought,
    isReadingDisks,
    isStopping,
  ];
  return parts.join('|');
}

/** By `infinity` the guest is waited for, when all that there is has been tried. */
function waitsForEver({ rule, reserveCame, at, isPressed }: Shutdown, termination: State['termination']): boolean {
  const isTried = reserveCame && (at !== 'hook' || isPressed || rule.stages.length === 1);
  return rule.timeoutMs === Infinity && termination === null && isTried;
}

/** With nobody doing anything any more, QEMU is killed at last; or it is waited for by `infinity`. */
function holdEnds(world: World, isRead: boolean, core: Core, known: Set<string>): void {
  const met: string[] = [];
  let now = world;
  for (let ticks = 0; ticks < 200; ticks++) {
    const { shutdown, termination } = now.state;
    const key = keyOf(now);
    const isOver = (shutdown === null && termination === null) || termination?.killed;
    if (isOver || (shutdown !== null && waitsForEver(shutdown, termination)) || known.has(key)) {
      for (const each of met) known.add(each);
      return;
    }
    met.push(key);
    const ms = Math.max(0, core.nextTick(now.state) - now.now);
    now = play(now, { name: 'tick', inputs: [{ kind: 'tick' }], ms }, isRead, core);
  }
  assert.fail('it always ends, or waits by infinity');
}

/**
 * Explores every sequence of inputs, up to `depth` of them after `first`.
 * @throws {AssertionError} that tells the sequence which breaks a rule
 */
export function explore(
  core: Core,
  {
    rules,
    limits,
    depth,
    first = [],
    shown = [],
  }: {
    readonly rules: readonly Rule[];
    readonly limits: Limits;
    readonly depth: number;
    readonly first?: readonly Input[];
    /** What the registers of the button may show; none: they cannot be read. */
    readonly shown?: readonly string[];
  },
): Exploration {
  let start: World = {
    state: core.initialState(limits),
    now: 0,
    hooks: new Map(),
    asked: new Set(),
    turns: new Set(),
    isAsking: false,
    sought: 'nothing',
    isReadingDisks: false,
    readAt: [],
    isStopping: false,
    isQuiet: true,
  };
  const isRead = shown.length > 0;
  if (first.length > 0) start = play(start, { name: 'first', inputs: first, ms: 0 }, isRead, core);
  const seen = new Set([keyOf(start)]);
  const ending = new Set<string>();
  /** How each world of the frontier was reached, for the message. */
  let frontier: { readonly world: World; readonly path: readonly string[] }[] = [{ world: start, path: [] }];
  const byDepth = [1];
  let transitions = 0;
  for (let d = 1; d <= depth; d++) {
    const next: typeof frontier = [];
    for (const { world, path } of frontier) {
      for (const each of movesOf(world, rules, shown, core)) {
        transitions++;
        try {
          const reached = move(world, each, isRead, core);
          const key = keyOf(reached);
          if (seen.has(key)) continue;
          seen.add(key);
          holdEnds(reached, isRead, core, ending);
          if (d < depth) next.push({ world: reached, path: [...path, each.name] });
          else byDepth[d] = (byDepth[d] ?? 0) + 1;
        } catch (error) {
          const after = [...path, each.name].join('; ');
          throw error instanceof assert.AssertionError
            ? new assert.AssertionError({ message: `${error.message}, after ${after}` })
            : error;
        }
      }
    }
    if (d < depth) byDepth[d] = next.length;
    frontier = next;
  }
  return { states: seen.size, transitions, byDepth };
}
