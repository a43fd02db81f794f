import { causeInWords, isOthersChild, verdict, wasKilledHere, type Ending } from './ending.js';

/** How the process of QEMU ended. */
function processInWords(ending: Ending): string {
  if (isOthersChild(ending)) return 'no child of this qemu-trap';
  return ending.signal === null ? `status ${ending.code}` : `killed by ${ending.signal}`;
}

/** Who told QEMU to go, by the reason of its SHUTDOWN (ShutdownCause of qapi/run-state.json of QEMU). */
const quitters: Readonly<Record<string, string>> = {
  'host-qmp-quit': 'QEMU was told to quit on a monitor',
  'host-signal': 'QEMU ended on a signal sent to it from elsewhere',
  'host-ui': 'the window of QEMU was closed',
  'host-qmp-system-reset': 'QEMU was told to reset its guest on a monitor, and exits instead (-no-reboot)',
  'host-error': 'QEMU exited on an error of the host',
};

const cutOff = 'the guest was cut off';

/** What qemu-trap did to end it; `''` if nothing. */
function actionInWords(ending: Ending): string {
  // That the guest had panicked is said already.
  const why = ending.cause === 'panicked' ? '' : causeInWords(ending);
  const because = why === '' ? '' : `${why}, and `;
  if (ending.isStillThere) return `${because}QEMU is still there: not even SIGKILL has ended it`;
  switch (verdict(ending)) {
    case 'killed':
      return `${because}QEMU was ended by SIGKILL`;
    case 'forced':
    case 'clean':
      return ending.action === 'quit' ? `${because}QEMU was told to quit` : '';
    default:
      return '';
  }
}

/** How QEMU went when its guest was not here any more. */
function exitInWords(ending: Ending, how: string): string {
  if (wasKilledHere(ending)) return `QEMU was ended by SIGKILL (${how})`;
  return `QEMU ${ending.action === 'quit' ? 'was told to quit' : 'exited'} (${how})`;
}

/** How QEMU ended, in words: they say what {@link Ending.end} and {@link Ending.cutOff} say, and who did it. */
export function describeEnding(ending: Ending): string {
  const how = processInWords(ending);
  const action = actionInWords(ending);
  const then = action === '' ? `QEMU exited (${how})` : `${action} (${how})`;
  switch (ending.end) {
    case 'start-failed':
      if (ending.prevented !== null) return `QEMU was not started: ${ending.prevented.words}`;
      return action === '' ? `QEMU did not start (${how})` : `QEMU never came up: ${action} (${how})`;
    case 'guest-shutdown':
      return `clean shutdown: the guest powered off${ending.signal === null && !wasKilledHere(ending) ? ` (QEMU: ${how})` : `; ${then}`}`;
    case 'guest-reset':
      return `clean shutdown: the guest reset itself, and QEMU went (QEMU: ${how})`;
    case 'panic':
      return `the guest panicked; ${then}; ${cutOff}`;
    case 'watchdog':
      return `the guest's watchdog expired; ${then}; ${cutOff}`;
    case 'saved':
      return `clean end: the guest was saved, and ${exitInWords(ending, how)}`;
    case 'migrated':
      return `clean end: the guest was migrated (its memory was sent elsewhere), and ${exitInWords(ending, how)}`;
    case 'quit': {
      if (action !== '') return ending.cutOff ? `forced end: ${action}; ${cutOff}` : `clean end: ${action} (${how})`;
      const reason = ending.evidence.shutdown?.reason ?? '';
      const who = quitters[reason] ?? `QEMU exited: ${reason}`;
      return `${who} (${how})${ending.cutOff ? `; ${cutOff}` : ''}`;
    }
    case 'kill':
      return `forced end: ${action}; ${cutOff}`;
    case 'crash':
      if (action !== '') return `forced end: ${action} (${how}); ${cutOff}`;
      if (isOthersChild(ending))
        return `QEMU has gone without a word, by a crash or a signal: which, only its parent can know, and that was not this qemu-trap; ${cutOff}`;
      return `${ending.signal === 'SIGKILL' ? 'QEMU was killed by SIGKILL from elsewhere (out of memory?)' : `QEMU exited without a word (${how})`}; ${cutOff}`;
    case 'unknown':
      return 'qemu-trap was killed: how QEMU ended is not known';
  }
}
