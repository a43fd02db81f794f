import type { EndCause } from '../outcome/end-cause.js';
import { type Evidence, noEvidence } from '../outcome/evidence.js';
import type { Rule } from '../rules/rule.js';
import type { SignalName } from '../signals/names.js';
import type { Action } from './messages.js';
import type { PressGaps } from './press-gaps.js';

/** What is in progress. `start`: QEMU has still to say how its guest is. `wait`: the chain has done what it could. */
type Stage = 'start' | 'script' | 'command' | 'wait';

/** One signal's chain on its way. */
export interface Chain {
  readonly rule: Rule;
  readonly since: number;
  deadline: number;
  link: Stage;
  /** How often the same signal came again meanwhile. */
  again: number;
  /** The hook has been reaped: what comes now comes after it, and nothing stood for it. */
  hasExited: boolean;
  /** The signal has come again since then. */
  isWantedAgain: boolean;
}

/** The shutdown: one at a time. */
export interface Shutdown extends Chain {
  /** From here on the time belongs to the last link. */
  reserveAt: number;
  reserveCame: boolean;
  /** The monitor command of the rule was sent; or it has none, besides the button. */
  commandSent: boolean;
  /** qemu-trap has asked for a press; or the rule has no button. */
  buttonAsked: boolean;
  /** When the last fact came: a second ago at the most, unless this process stood still. */
  seenAt: number;
  /** By how much the deadline was moved for that, in milliseconds. */
  lostMs: number;
  /** The button was pressed since the signal, and since the guest's last reset. */
  powerdown: boolean;
  /** Presses, by whomever; one of qemu-trap's own counts from its request on. */
  presses: number;
  /** qemu-trap has asked for a press that QEMU has not told of yet. */
  isPressing: boolean;
  nextPressAt: number;
  ctrlCAt: number | null;
  /** Other signals that came meanwhile: told once each. */
  readonly told: ReadonlySet<SignalName>;
}

export interface Termination {
  /** `none`: QEMU has said that it exits (SHUTDOWN), and is left alone. */
  action: 'none' | 'quit' | 'kill';
  readonly cause: EndCause;
  killAt: number;
  killed: boolean;
  abandonAt: number;
}

interface IgnoredCount {
  readonly until: number;
  readonly more: number;
}

export interface State {
  readonly limits: Limits;
  monitorUp: boolean;
  evidence: Evidence;
  stop: Shutdown | null;
  end: Termination | null;
  readonly runs: Map<SignalName, Chain>;
  /** Ignored signals told of in the last second, with those since that are still to be told. */
  readonly ignored: Map<SignalName, IgnoredCount>;
}

export interface Limits {
  /** From the default action to SIGKILL, in milliseconds. */
  readonly killAfterMs: number;
  readonly pressGaps: PressGaps;
}

/** How often a fact comes in a shutdown, be it only the time. */
const heartbeatMs = 1_000;

export function initialState(limits: Limits): State {
  return { limits, monitorUp: false, evidence: noEvidence, stop: null, end: null, runs: new Map(), ignored: new Map() };
}

/** When {@link step} wants a `tick`, on the same clock as its `now`; Infinity where it waits for nothing. */
export function nextTick(state: State): number {
  const times: number[] = [];
  const { stop, end } = state;
  if (end !== null) times.push(end.killed ? end.abandonAt : end.killAt);
  else if (stop !== null) {
    times.push(stop.deadline, stop.nextPressAt, stop.seenAt + heartbeatMs);
    if (!stop.reserveCame && state.monitorUp) times.push(stop.reserveAt);
  }
  for (const run of state.runs.values()) times.push(run.deadline);
  for (const ignored of state.ignored.values()) times.push(ignored.until);
  return Math.min(Infinity, ...times);
}

/** Which link of `signal`'s chain is in progress; `null` where none is. */
export function stageOf(state: State, signal: SignalName): Stage | null {
  if (state.end !== null) return null;
  const run = state.stop?.rule.signal === signal ? state.stop : state.runs.get(signal);
  return run?.link ?? null;
}

/** One step of the core: a copy of the state that nobody else has seen, and what is decided in it. */
export interface Step {
  readonly state: State;
  readonly actions: Action[];
  /** On the clock of the facts, in milliseconds. */
  readonly now: number;
}
