import type { ChildProcess } from 'node:child_process';
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { closeInherited } from '../system/descriptors.js';
import { spawn } from '../system/spawn.js';
import { errorText } from '../system/usage-error.js';
import { startTimer } from '../system/timer.js';

/** How long a full pipe has to be read from, in milliseconds. */
const readWithinMs = 10_000;
const retryEveryMs = 50;

/**
 * The descriptor of `--ready-fd`: it gets a newline once the VM runs, and is closed then (the readiness protocol of s6).
 * Its reader learns of qemu-trap's end from it, so neither QEMU nor a hook may have it. A reader that does not read
 * delays nothing.
 */
export class ReadyDescriptor {
  /** A number of qemu-trap's own that leads to the same open file and never blocks. */
  #own: number | null = null;

  constructor(readonly number: number) {
    try {
      this.#own = openSync(
        `/proc/self/fd/${number}`,
        constants.O_WRONLY | constants.O_APPEND | constants.O_NONBLOCK | constants.O_NOCTTY,
      );
    } catch {
      // A socket, or a pipe of another user's: it stays as it is, and a child does the writing.
      return;
    }
    closeInherited(number);
  }

  /** The number that no child may inherit; `null` if it is closed already. */
  get withheld(): number | null {
    return this.#own === null ? this.number : null;
  }

  /** @param failed is told why the newline cannot be written */
  tell(failed: (why: string) => void): void {
    if (this.#own === null) this.#tellByChild(failed);
    else this.#write(this.#own, performance.now() + readWithinMs, failed);
  }

  #write(fd: number, until: number, failed: (why: string) => void): void {
    try {
      writeSync(fd, '\n');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN' && performance.now() < until) {
        startTimer(retryEveryMs, () => this.#write(fd, until, failed));
        return;
      }
      failed(
        (error as NodeJS.ErrnoException).code === 'EAGAIN' ? 'it is full, and nothing reads from it' : errorText(error),
      );
    }
    closeSync(fd);
  }

  #tellByChild(failed: (why: string) => void): void {
    let child: ChildProcess;
    try {
      child = spawn('echo', [], { stdio: ['ignore', this.number, 'ignore'], detached: true });
    } catch (error) {
      return failed(errorText(error));
    } finally {
      closeInherited(this.number);
    }
    const timer = startTimer(readWithinMs, () => child.kill('SIGKILL'));
    child.on('error', (error) => {
      timer.cancel();
      failed(errorText(error));
    });
    child.on('exit', (code, signal) => {
      timer.cancel();
      if (code !== 0) failed(signal === 'SIGKILL' ? 'it is full, and nothing reads from it' : 'nothing reads from it');
    });
  }
}
