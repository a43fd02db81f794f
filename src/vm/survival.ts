import { isOfTreeWalk } from '../hook/descendants.js';
import type { Log } from '../log/log.js';

/** Errors of qemu-trap's own, after QEMU has been started: each is said, and none abandons QEMU. */
export class Survival {
  constructor(private readonly log: Log) {}

  readonly survive = (error: unknown): void => {
    if (isOfTreeWalk(error)) return;
    this.log({
      event: 'internal-error',
      level: 'error',
      message: `internal error (qemu-trap continues): ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
    });
  };

  /** Does what QEMU does not depend on; what it throws is survived. */
  attempt(what: () => unknown): void {
    try {
      what();
    } catch (error) {
      this.survive(error);
    }
  }
}
