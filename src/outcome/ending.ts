import type { ButtonState } from './button-evidence.js';
import type { EndCause } from './end-cause.js';
import { guestEnded, noEvidence, type Evidence } from './evidence.js';
import { isUnknown } from './run-state.js';

/*
 * How a run of QEMU ended: one value, from what QEMU said and what the kernel says of its process. Exit status, last
 * line, hook `end` and history follow from it.
 */

/** What ended it. `unknown` is for a record whose qemu-trap was killed. */
export type EndKind =
  | 'guest-shutdown'
  | 'guest-reset'
  | 'panic'
  | 'watchdog'
  | 'saved'
  | 'migrated'
  | 'quit'
  | 'kill'
  | 'crash'
  | 'start-failed'
  | 'unknown';

/** Why QEMU was not executed: the hook `start` has failed, or a signal that ends a VM came while it ran. */
export interface Prevention {
  readonly words: string;
  /** The signal, with its moment on the clock of `performance.now()`; `null` if it was the hook. */
  readonly stop: { readonly signal: NodeJS.Signals; readonly since: number } | null;
}

/** All that is known when QEMU has exited. */
export interface Circumstances {
  readonly evidence: Evidence;
  /** QEMU's exit status, or `null` if a signal killed it, or if it was no child of this qemu-trap. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** The monitor came up: QEMU had started. */
  readonly started: boolean;
  /** What was killed without a monitor had not got our words: a guest may have run there. */
  readonly bypassesUs: boolean;
  /** QEMU was started not to run its guest at once (`-S`, `-incoming`). */
  readonly waitsForCont: boolean;
  /** What qemu-trap did to end it. */
  readonly action: 'none' | 'quit' | 'kill';
  readonly cause: EndCause | null;
  /** What is known of the last press of the power button; `null` if it was not pressed in a shutdown. */
  readonly button: ButtonState | null;
  /** The state file of this VM is complete. */
  readonly savedState: boolean;
  /** Not even SIGKILL has killed it in time. */
  readonly isStillThere: boolean;
  /** The hook of the shutdown's signal, if it was stopped because its time was up. */
  readonly overdueHook: string | null;
}

export interface Ending extends Circumstances {
  readonly end: EndKind;
  /** The guest lost power while it ran. */
  readonly cutOff: boolean;
  readonly prevented: Prevention | null;
}

/** How a process ended is for its parent alone to know (wait(2)). */
export function isOthersChild({ code, signal }: Pick<Circumstances, 'code' | 'signal'>): boolean {
  return code === null && signal === null;
}

/** It was SIGKILL of this qemu-trap that killed QEMU. */
export function wasKilledHere({ action, signal, code, isStillThere }: Circumstances): boolean {
  return action === 'kill' && (isStillThere || signal === 'SIGKILL' || isOthersChild({ code, signal }));
}

/** The guest had run: as QEMU said, or, if it exited before it could be asked, as its command line says. */
function guestRan({ started, evidence, waitsForCont }: Circumstances): boolean {
  return started && (evidence.guestRan || (isUnknown(evidence.runState) && !waitsForCont));
}

/** The first of these that is so, in the order of the contract. */
function endOf(known: Circumstances): EndKind {
  const { evidence, savedState } = known;
  const { shutdown } = evidence;
  if (!known.started && known.bypassesUs && wasKilledHere(known)) return 'kill';
  if (!guestRan(known)) return known.started && shutdown !== null ? 'quit' : 'start-failed';
  if (evidence.panicked) return 'panic';
  if (evidence.watchdog === 'poweroff') return 'watchdog';
  if (evidence.watchdog === 'reset' && shutdown?.reason === 'guest-reset') return 'watchdog';
  if (guestEnded(evidence)) return shutdown?.reason === 'guest-reset' ? 'guest-reset' : 'guest-shutdown';
  if (evidence.migrated) return savedState ? 'saved' : 'migrated';
  if (shutdown !== null) return 'quit';
  return wasKilledHere(known) ? 'kill' : 'crash';
}

/** How QEMU exited. */
export function endingOf(known: Circumstances): Ending {
  const end = endOf(known);
  const isCutOff = ['panic', 'watchdog', 'kill', 'crash'].includes(end) || (end === 'quit' && guestRan(known));
  return { ...known, end, cutOff: isCutOff, prevented: null };
}

/** The ending of a QEMU that was not executed. */
export function notExecuted(prevented: Prevention): Ending {
  return {
    evidence: noEvidence,
    code: null,
    signal: null,
    started: false,
    bypassesUs: false,
    waitsForCont: false,
    action: 'none',
    cause: null,
    button: null,
    savedState: false,
    isStillThere: false,
    overdueHook: null,
    end: 'start-failed',
    cutOff: false,
    prevented,
  };
}

/** Who ended it and how, in one word: kept for scripts that know it from before there was {@link Ending.end} for all. */
export type Verdict =
  | 'clean'
  | 'forced'
  | 'killed'
  | 'failed-to-start'
  | 'not-started'
  | 'by-itself'
  | 'host-signal'
  | 'unknown';

export function verdict(ending: Ending): Verdict {
  const { end, action, cause, evidence } = ending;
  if (ending.prevented !== null) return 'not-started';
  if (wasKilledHere(ending)) return 'killed';
  if (action === 'quit' && cause !== null) return ending.cutOff ? 'forced' : 'clean';
  switch (end) {
    case 'start-failed':
      return 'failed-to-start';
    case 'guest-shutdown':
    case 'guest-reset':
    case 'saved':
    case 'migrated':
      return ending.signal === null ? 'clean' : 'by-itself';
    case 'quit':
      return evidence.shutdown?.reason === 'host-signal' ? 'host-signal' : 'by-itself';
    case 'crash':
      // A QEMU that exits in good order says so first.
      return isOthersChild(ending) ? 'unknown' : 'by-itself';
    default:
      return 'by-itself';
  }
}
