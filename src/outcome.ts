import { uselessToWait } from './dispatch.js';
import type { SignalName } from './signals.js';

/*
 * How things end, in one shape each, and the only place that words them.
 */

/** How a hook's run ended. */
export type HookOutcome =
  | { readonly kind: 'done' }
  /** Exit status 75, EX_TEMPFAIL of sysexits(3): not now. */
  | { readonly kind: 'not-now' }
  | { readonly kind: 'failed'; readonly why: string };

const EX_TEMPFAIL = 75;

/** A hook's outcome from how its process ended. */
export function hookOutcome(code: number | null, signal: NodeJS.Signals | null): HookOutcome {
  if (signal !== null) return { kind: 'failed', why: `was killed by ${signal}` };
  if (code === 0) return { kind: 'done' };
  if (code === EX_TEMPFAIL) return { kind: 'not-now' };
  return { kind: 'failed', why: `exited with status ${code}` };
}

/** Why QEMU was told to go, or killed. */
export type EndCause =
  | 'deadline'
  | 'cut'
  | 'asked'
  | 'panicked'
  | 'internal-error'
  | 'never-ran'
  | 'incoming'
  | 'migrated'
  | 'powered-off';

/** Whether the cause means that a guest which still ran was cut off, and the reason in words. */
export const endCauses: Readonly<Record<EndCause, { readonly forced: boolean; readonly words: string }>> = {
  deadline: { forced: true, words: 'the deadline passed' },
  cut: { forced: true, words: 'the wait was cut short' },
  asked: { forced: true, words: 'the rule asks nothing of the guest' },
  panicked: { forced: true, words: 'the guest had panicked' },
  'internal-error': { forced: true, words: "the guest's processor had stopped on an internal error" },
  'never-ran': { forced: false, words: 'the guest never ran' },
  incoming: { forced: false, words: 'the guest had not arrived yet (incoming migration)' },
  migrated: { forced: false, words: 'the guest runs elsewhere (migrated)' },
  'powered-off': { forced: false, words: 'the guest powered off' },
};

/** All that is known when QEMU has gone. */
export interface Ending {
  /** QEMU's exit status, or `null` where a signal ended it, or where it was no child of this qemu-trap. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** What qemu-trap did to end it. */
  readonly action: 'none' | 'quit' | 'kill';
  readonly cause: EndCause | null;
  /** The guest itself had powered off or reset before QEMU went. */
  readonly guestWent: boolean;
  /** QEMU's reason for its last SHUTDOWN event, such as `guest-shutdown` or `host-signal`. */
  readonly reason: string | null;
  /** The monitors came up: QEMU had started. */
  readonly started: boolean;
  /** QEMU's last run state. */
  readonly guest: string;
  /** Why QEMU was not executed at all. */
  readonly prevented: Prevention | null;
}

/** The hook `start` has failed; or a signal that ends a VM came while it ran. */
export interface Prevention {
  readonly words: string;
  /** The signal, with its moment on the clock of `performance.now()`; `null` where it was the hook. */
  readonly stop: { readonly signal: SignalName; readonly since: number } | null;
}

/** The ending of a QEMU that was not executed. */
export function notExecuted(prevented: Prevention): Ending {
  return { code: null, signal: null, action: 'none', cause: null, guestWent: false, reason: null, started: false, guest: 'unknown', prevented };
}

export type Verdict = 'clean' | 'forced' | 'killed' | 'failed-to-start' | 'not-started' | 'by-itself' | 'host-signal' | 'unknown';

/** How a run ended, in the words of the hook `end` and of the history. */
export type End = 'guest-shutdown' | 'guest-reset' | 'quit' | 'kill' | 'crash' | 'start-failed';

export function endOf(ending: Ending): End {
  switch (verdict(ending)) {
    case 'not-started':
    case 'failed-to-start':
      return 'start-failed';
    case 'killed':
      return 'kill';
    case 'unknown':
      return 'crash';
    case 'forced':
    case 'host-signal':
      return 'quit';
    case 'clean':
      return !ending.guestWent ? 'quit' : ending.reason === 'guest-reset' ? 'guest-reset' : 'guest-shutdown';
    case 'by-itself':
      return ending.signal !== null || (ending.code ?? 0) !== 0 || ending.reason === 'guest-panic' ? 'crash' : 'quit';
  }
}

/** How a process ended is for its parent alone to know (wait(2)). */
export function isOthersChild({ code, signal }: Pick<Ending, 'code' | 'signal'>): boolean {
  return code === null && signal === null;
}

/** What an ending amounts to: the exit status and the last line both follow from it. */
export function verdict(ending: Ending): Verdict {
  if (ending.prevented !== null) return 'not-started';
  if (ending.action === 'kill' && (ending.signal === 'SIGKILL' || isOthersChild(ending))) return 'killed';
  if (ending.signal !== null) return 'by-itself';
  if (!ending.started && ending.action === 'none') return 'failed-to-start';
  if (ending.guestWent) return 'clean';
  if (ending.action === 'quit' && ending.cause !== null) return endCauses[ending.cause].forced ? 'forced' : 'clean';
  if (ending.reason === 'host-signal') return 'host-signal';
  // A QEMU that ends in good order says so first.
  return isOthersChild(ending) && ending.reason === null ? 'unknown' : 'by-itself';
}

/** Whether the guest was cut off, by whomever: it did not end by itself, nor because there was nothing to wait for. */
export function wasCutOff(ending: Ending): boolean {
  // Not started, migrated or powered off: there was nothing to be cut off.
  const state = uselessToWait[ending.guest];
  if (state !== undefined && !endCauses[state].forced) return false;
  // One that somebody else told to quit still ran.
  const isQuitByOthers = verdict(ending) === 'by-itself' && ending.reason === 'host-qmp-quit';
  return isQuitByOthers || ['forced', 'host-signal'].includes(verdict(ending)) || ['kill', 'crash'].includes(endOf(ending));
}

/** How QEMU ended, in words. */
export function wordEnding(ending: Ending): string {
  const how = isOthersChild(ending) ? 'no child of this qemu-trap' : ending.signal === null ? `status ${ending.code}` : `ended by ${ending.signal}`;
  const why = ending.cause === null ? '' : endCauses[ending.cause].words;
  switch (verdict(ending)) {
    case 'clean':
      return ending.guestWent ? `clean shutdown: the guest ${ending.reason === 'guest-reset' ? 'reset itself, and QEMU went' : 'powered off'} (QEMU: ${how})` : `clean end: ${why}, and QEMU was told to quit (${how})`;
    case 'forced':
      return `forced end: ${why}, and QEMU was told to quit; the guest was cut off`;
    case 'killed':
      return `forced end: ${why === '' ? '' : `${why}, and `}QEMU was ended by SIGKILL; the guest was cut off`;
    case 'failed-to-start':
      return `QEMU did not start (${how})`;
    case 'not-started':
      return `QEMU was not started: ${ending.prevented?.words}`;
    case 'host-signal':
      return `QEMU ended on a signal sent to it from elsewhere (${how}); the guest was cut off`;
    case 'unknown':
      return 'QEMU has gone without a word, by a crash or a signal: which, only its parent can know, and that was not this qemu-trap';
    case 'by-itself':
      return ending.reason === null || ending.reason === 'host-qmp-quit' ? `QEMU ended by itself (${how})` : `QEMU ended by itself: ${ending.reason} (${how})`;
  }
}
