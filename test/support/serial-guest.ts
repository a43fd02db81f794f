import { execFileSync } from 'node:child_process';
import { read, until } from './lab.js';

/** A guest that says on its serial line how it is. */
export class SerialGuest {
  /**
   * @param serial the file of that line
   * @param patienceMs how long it may take to say something, in milliseconds
   */
  constructor(
    readonly serial: string,
    private readonly patienceMs: number,
  ) {}

  get log(): string {
    return read(this.serial);
  }

  said(what: string): number {
    return this.log.split(what).length - 1;
  }

  async says(what: string, times = 1): Promise<void> {
    await until(`the guest says '${what}' ${times} times`, () => this.said(what) >= times, this.patienceMs).catch(
      (error: Error) => {
        throw new Error(`${error.message}; it said:\n${this.log}`);
      },
    );
  }
}

/** Whether the next mount of an ext4 file system would have to recover it. */
export function needsRecovery(disk: string): boolean {
  const told = execFileSync('dumpe2fs', ['-h', disk], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  return /^Filesystem features:.*\bneeds_recovery\b/m.test(told);
}
