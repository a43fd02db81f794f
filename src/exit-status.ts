import { constants } from 'node:os';
import { isOthersChild, verdict, type Ending } from './outcome.js';

/** The exit statuses that are qemu-trap's own; after timeout(1). */
export const status = {
  /** The deadline passed, and the default action `quit` ended QEMU. */
  forced: 124,
  /** qemu-trap itself failed, or was called wrongly. */
  failed: 125,
  notExecutable: 126,
  notFound: 127,
  /** SIGKILL was needed. */
  killed: 137,
} as const;

/** The exit status that tells how QEMU ended: QEMU's own, or one that says it had to be forced. */
export function exitStatus(ending: Ending): number {
  switch (verdict(ending)) {
    case 'killed':
      return status.killed;
    case 'forced':
      return status.forced;
    case 'unknown':
      return status.failed;
    case 'not-started':
      return ending.prevented?.stop ? 0 : status.failed;
    default:
      // QEMU ends with 0 where it has said how it goes (SHUTDOWN), and is asked by nobody to do otherwise.
      if (isOthersChild(ending)) return 0;
      return ending.signal === null ? (ending.code ?? status.failed) : 128 + constants.signals[ending.signal];
  }
}
