import { goesOnBy } from '../outcome/run-state.js';
import { type ButtonEvidence, type ButtonState, isSettled, noButtonEvidence } from '../outcome/button-evidence.js';
import type { DiskActivity } from '../outcome/disk-activity.js';
import type { EndCause } from '../outcome/end-cause.js';
import { type Evidence, noEvidence } from '../outcome/evidence.js';
import type { Rule, Stage } from '../rules/rule.js';
import type { SignalName } from '../signals/names.js';
import type { Effect, Notice } from './messages.js';
import type { PressGaps } from './press-gaps.js';

/**
 * What a chain is at. `start`: QEMU has still to say how its guest is. `guest`: the stages have done what they could,
 * and the guest has to do the rest.
 */
type Progress = 'start' | Stage['kind'] | 'guest';

/** The stages of one signal's rule, on their way. */
export interface Chain {
  readonly rule: Rule;
  readonly since: number;
  deadline: number;
  at: Progress;
  /** How many stages of the rule have begun, or were passed over. */
  begun: number;
  /** How often the same signal came again meanwhile. */
  repeats: number;
  /** The hook has been reaped: what comes now comes after it, and nothing stood for it. */
  hasExited: boolean;
  /** The signal has come again since then. */
  isWantedAgain: boolean;
}

/** The shutdown: one at a time. */
export interface Shutdown extends Chain {
  /** From here on the time belongs to the power button. */
  reserveAt: number;
  reserveCame: boolean;
  /** When the last input came: a second ago at the most, unless this process stood still. */
  seenAt: number;
  /** By how much the deadline was moved for that, in milliseconds. */
  lostMs: number;
  /** What lost time had left of the reserve was given back to the last stage. */
  hasReserveAgain: boolean;
  /** Until then a guest whose disks are still written gets more time; `null`: none is given. */
  busyUntil: number | null;
  disks: DiskActivity;
  /** When they are to be asked about next. */
  disksReadAt: number;
  isReadingDisks: boolean;
  /** The deadline was moved for them. */
  isExtended: boolean;
  /** The button was pressed since the signal, and since the guest's last reset. */
  isPressed: boolean;
  /** Presses, qemu-trap's own and those of hooks; one of its own counts from its request on. */
  presses: number;
  /** qemu-trap has asked for a press, and no POWERDOWN has come since. */
  isPressing: boolean;
  nextPressAt: number;
  /** A guest that stands still is not let go on before then: one whose disk is full would stand still again at once. */
  goesOnAt: number;
  ctrlCAt: number | null;
  /** Other signals that came meanwhile: one notice each. */
  readonly noticed: Set<SignalName>;
  /** Rules of other signals that came meanwhile and are to stop the VM as well: for the case that the hook says "not now". */
  readonly waiting: Map<SignalName, Rule>;
}

/** The power button of the guest in this shutdown, or in the last one, as its registers show it. */
export interface ButtonWatch {
  readonly evidence: ButtonEvidence;
  /** The registers were found: they are read. */
  readonly isPlaced: boolean;
  /** What is under way. */
  readonly asked: 'nothing' | 'place' | 'registers';
  /** When the next thing may be asked. */
  readonly nextReadAt: number;
  /** What the log has told last. */
  readonly told: ButtonState | null;
}

/** Until the first press; no shutdown is called off after that. */
const unreadButton: ButtonWatch = {
  evidence: noButtonEvidence,
  isPlaced: false,
  asked: 'nothing',
  nextReadAt: 0,
  told: null,
};

/** QEMU is on its way out, and has until `killAt`. */
export interface Termination {
  /** `none`: QEMU has said that it exits (SHUTDOWN), and is left alone. */
  action: 'none' | 'quit' | 'kill';
  readonly cause: EndCause;
  killAt: number;
  killed: boolean;
  abandonAt: number;
}

/** True if QEMU was told to quit, or was killed: no guest that comes back takes that back. */
export function isFinal({ action, killed }: Termination): boolean {
  return action !== 'none' || killed;
}

/** An ignored signal that was logged, and how often it has come since. */
interface IgnoredCount {
  readonly until: number;
  readonly more: number;
}

export interface State {
  readonly limits: Limits;
  monitorUp: boolean;
  evidence: Evidence;
  shutdown: Shutdown | null;
  button: ButtonWatch;
  /** The guest has not listened to its power button for longer than since then. */
  listensSince: number;
  termination: Termination | null;
  /** Of the signals that leave the guest running. */
  readonly chains: Map<SignalName, Chain>;
  /** Of the last second. */
  readonly ignored: Map<SignalName, IgnoredCount>;
}

export interface Limits {
  /** From the default action to SIGKILL, in milliseconds. */
  readonly killAfterMs: number;
  /** From the signal to the default action for a guest that still writes, in milliseconds; `null`: it gets no more time. */
  readonly busyTimeoutMs: number | null;
  readonly pressGaps: PressGaps;
  /** The user has given the gaps: they are kept, whatever is known of the button. */
  readonly keepsGaps: boolean;
}

/** How often an input comes in a shutdown, be it only the time. */
const heartbeatMs = 1_000;

export function initialState(limits: Limits): State {
  return {
    limits,
    monitorUp: false,
    evidence: noEvidence,
    shutdown: null,
    button: unreadButton,
    listensSince: -Infinity,
    termination: null,
    chains: new Map(),
    ignored: new Map(),
  };
}

/**
 * The registers may be read: from the first press on, its own or a hook's. Not while a press is due, nor when they can say no
 * more: what is written to a QEMU that exits may crash it.
 */
export function mayReadButton({ shutdown, button, termination, monitorUp }: State): boolean {
  if (shutdown === null || termination !== null || !monitorUp || shutdown.isPressing) return false;
  const { evidence, asked } = button;
  if (isSettled(evidence) || asked !== 'nothing') return false;
  return shutdown.presses > 0;
}

/** QEMU may be asked what its disks have done. */
export function mayReadDisks({ shutdown, termination, monitorUp }: State): boolean {
  if (shutdown === null || termination !== null || !monitorUp) return false;
  return shutdown.busyUntil !== null && !shutdown.isReadingDisks;
}

/** A guest that stands still does not hear its button. */
export function mayLetGoOn({ shutdown, termination, evidence }: State): boolean {
  return termination === null && shutdown?.isPressed === true && goesOnBy(evidence.runState) !== null;
}

/** When {@link step} wants a `tick`, on the same clock as its `now`; Infinity if it waits for nothing. */
export function nextTick(state: State): number {
  const { shutdown, termination, chains, ignored, monitorUp } = state;
  const times: number[] = [];
  if (termination !== null) times.push(termination.killed ? termination.abandonAt : termination.killAt);
  else if (shutdown !== null) {
    times.push(shutdown.deadline, shutdown.nextPressAt, shutdown.seenAt + heartbeatMs);
    if (!shutdown.reserveCame && monitorUp) times.push(shutdown.reserveAt);
    if (mayReadButton(state)) times.push(state.button.nextReadAt);
    if (mayReadDisks(state)) times.push(shutdown.disksReadAt);
    if (mayLetGoOn(state)) times.push(shutdown.goesOnAt);
  }
  for (const chain of chains.values()) times.push(chain.deadline);
  for (const { until } of ignored.values()) times.push(until);
  return Math.min(Infinity, ...times);
}

/** The chain of `signal`, if one is on its way. */
export function chainOf({ shutdown, chains }: State, signal: SignalName): Chain | undefined {
  return shutdown?.rule.signal === signal ? shutdown : chains.get(signal);
}

/** True if a hook of `signal` is wanted now. */
export function isAtHook(state: State, signal: SignalName): boolean {
  return state.termination === null && chainOf(state, signal)?.at === 'hook';
}

/** One step of the core: a copy of the state, for this step to change, and what is decided in it. */
export interface Step {
  readonly state: State;
  readonly effects: Effect[];
  readonly notices: Notice[];
  /** On the clock of the inputs, in milliseconds. */
  readonly now: number;
}
