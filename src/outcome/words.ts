import type { SignalName } from '../signals/names.js';
import { formatSeconds } from '../system/duration.js';
import { isOthersChild, verdict, wasKilledHere, type Ending } from './ending.js';
import { explainCutOff } from './button-words.js';
import { describeCause } from './end-cause.js';
import { explainStandstill } from './run-state.js';

/** How the process of QEMU exited. */
function processInWords(ending: Ending): string {
  if (isOthersChild(ending)) return 'exit status unknown: not a child of this qemu-trap';
  return ending.signal === null ? `status ${ending.code}` : `killed by ${ending.signal}`;
}

/** Who told QEMU to go, by the reason of its SHUTDOWN (ShutdownCause of qapi/run-state.json of QEMU). */
const quitters: Readonly<Record<string, string>> = {
  'host-qmp-quit': 'QEMU was told to quit through a monitor',
  'host-signal': 'QEMU exited on a signal from elsewhere',
  'host-ui': "QEMU's window was closed",
  'host-qmp-system-reset': 'QEMU was told through a monitor to reset the guest, and exited instead (-no-reboot)',
  'host-error': 'QEMU exited because of an error on the host',
};

const cutOff = 'the guest was cut off';

/** QEMU has told of the reason in its event SHUTDOWN. */
export function describeShutdown(reason: string): string {
  if (reason === 'guest-shutdown') return `the guest has shut down (${reason})`;
  return reason === 'guest-reset' ? `the guest has reset (${reason})` : `QEMU is exiting (${reason})`;
}

/** What qemu-trap did to end it; `''` if nothing. */
function actionInWords(ending: Ending, signal: SignalName | null): string {
  const { action, cause, isStillThere } = ending;
  const wasKilled = isStillThere || verdict(ending) === 'killed';
  if (!wasKilled && !(action === 'quit' && ['forced', 'clean'].includes(verdict(ending)))) return '';
  const killed = `qemu-trap killed QEMU with SIGKILL${isStillThere ? ', but QEMU is still there' : ''}`;
  const did = wasKilled ? killed : 'qemu-trap told QEMU to quit';
  // What the guest did is said already.
  if (cause === null || cause === 'panicked' || cause === 'powered-off') return did;
  const why = describeCause(cause, signal);
  if (cause === 'asked') return `${did}, ${why}`;
  return `${why}, ${wasKilled ? 'and' : 'so'} ${did}`;
}

/** How QEMU exited when its guest was not here any more. */
function exitInWords(ending: Ending, how: string): string {
  if (wasKilledHere(ending)) return `qemu-trap killed QEMU with SIGKILL (${how})`;
  return ending.action === 'quit' ? `qemu-trap told QEMU to quit (${how})` : `QEMU exited (${how})`;
}

/** QEMU exited with an error before its guest ran, and nothing had asked it to exit. */
function hasFailedToStart(ending: Ending): boolean {
  return (
    ending.end === 'start-failed' &&
    ending.prevented === null &&
    actionInWords(ending, null) === '' &&
    processInWords(ending) !== 'status 0'
  );
}

/** What the last line tells besides the ending. */
interface LastLine {
  /** The signal that began the shutdown. */
  readonly signal: SignalName | null;
  /** From that signal, or from the start, to the end. */
  readonly ms: number;
  /** The file of the guest that was saved. */
  readonly saved: string | null;
  /** The exit status of qemu-trap. */
  readonly status: number;
}

/** The last line. */
export function describeEnd(ending: Ending, { signal, ms, saved, status }: LastLine): string {
  const time = formatSeconds(ms);
  if (signal === null && hasFailedToStart(ending))
    return `QEMU failed at startup after ${time} (${processInWords(ending)}); exit status ${status}`;
  if (signal === null && ending.prevented !== null) return `${describeEnding(ending, null)}; exit status ${status}`;
  const resumed = saved === null ? '' : `; the guest is saved in ${saved}, and the next start resumes it`;
  return `${signal === null ? '' : `${signal}: `}${describeEnding(ending, signal)}${resumed}; ${time} after ${signal ?? 'the start'}, exit status ${status}`;
}

/** How QEMU exited, in words: they say what {@link Ending.end} and {@link Ending.cutOff} say, and who did it. */
function describeEnding(ending: Ending, signal: SignalName | null): string {
  const how = processInWords(ending);
  const action = actionInWords(ending, signal);
  const standstill = explainStandstill(ending.evidence.runState);
  const hung = ending.overdueHook === null ? '' : `; its hook ${ending.overdueHook} did not exit in its time`;
  const because = `${ending.button === null ? '' : ` (${standstill ?? explainCutOff(ending.button)})`}${hung}`;
  const then = action === '' ? `QEMU exited (${how})` : `${action} (${how})`;
  switch (ending.end) {
    case 'start-failed':
      if (ending.prevented !== null) return `QEMU was not started: ${ending.prevented.words}`;
      if (action !== '') return `QEMU did not start up: ${action} (${how})`;
      return hasFailedToStart(ending)
        ? `QEMU failed at startup (${how})`
        : `QEMU exited without starting a guest (${how})`;
    case 'guest-shutdown':
      return `clean shutdown: the guest powered off${ending.signal === null && !wasKilledHere(ending) ? ` (QEMU: ${how})` : `; ${then}`}`;
    case 'guest-reset':
      return `clean shutdown: the guest reset itself, so QEMU exited (${how})`;
    case 'panic':
      return `the guest panicked; ${then}; ${cutOff}`;
    case 'watchdog':
      return `the guest's watchdog expired; ${then}; ${cutOff}`;
    case 'saved':
      return `clean stop: the guest was saved, and ${exitInWords(ending, how)}`;
    case 'migrated':
      return `clean stop: the guest was migrated (its memory was sent elsewhere), and ${exitInWords(ending, how)}`;
    case 'quit': {
      if (action !== '')
        return ending.cutOff ? `forced stop: ${action}; ${cutOff}${because}` : `clean stop: ${action} (${how})`;
      const reason = ending.evidence.shutdown?.reason ?? '';
      const who = quitters[reason] ?? `QEMU exited: ${reason}`;
      return `${who} (${how})${ending.cutOff ? `; ${cutOff}` : ''}`;
    }
    case 'kill':
      return `forced stop: ${action}; ${cutOff}${because}`;
    case 'crash':
      if (action !== '') return `forced stop: ${action} (${how}); ${cutOff}${because}`;
      if (isOthersChild(ending))
        return `QEMU exited without giving a reason; its exit status is unknown because it is not a child of this qemu-trap; ${cutOff}`;
      return `${ending.signal === 'SIGKILL' ? 'QEMU was killed by SIGKILL from elsewhere (out of memory?)' : `QEMU exited without giving a reason (${how})`}; ${cutOff}`;
    case 'unknown':
      return 'qemu-trap was killed, so it is unknown how QEMU exited';
  }
}
