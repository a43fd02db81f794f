import { signalNumber } from '../signals/names.js';
import { isOthersChild, wasKilledHere, type Ending } from './ending.js';

/** The exit statuses that are qemu-trap's own; after timeout(1). */
export const status = {
  /** The guest panicked, or its watchdog ended it, and QEMU said 0. */
  guestFailed: 123,
  /** qemu-trap told QEMU to quit, and the guest lost power. */
  forced: 124,
  /** qemu-trap itself failed, or was called wrongly. */
  failed: 125,
  notExecutable: 126,
  notFound: 127,
  /** SIGKILL was needed. */
  killed: 137,
} as const;

/** The exit status that tells how QEMU exited: the first of these that is so, in the order of the contract. */
export function exitStatus(ending: Ending): number {
  const { end, action, signal, code } = ending;
  if (ending.prevented !== null) return ending.prevented.stop ? 0 : status.failed;
  if (wasKilledHere(ending)) return status.killed;
  if (action === 'quit' && ending.cutOff) return status.forced;
  if (signal !== null) return 128 + signalNumber(signal);
  if (code !== null && code !== 0) return code;
  if (end === 'panic' || end === 'watchdog') return status.guestFailed;
  // A QEMU that is no child of ours and has not said how it exits may have crashed.
  return end === 'crash' && isOthersChild(ending) ? status.failed : 0;
}
