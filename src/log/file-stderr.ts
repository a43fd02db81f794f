import { closeSync, writeSync } from 'node:fs';
import { startTimer, type Timer } from '../system/timer.js';

/** If this much waits for a slow reader, what comes is counted and dropped. */
const queueLimit = 64 * 1024;

/** What qemu-trap's own lines have besides: a hook's flood must not hide how it ended. */
const ownShare = 32 * 1024;

const firstRetryMs = 20;

const longestRetryMs = 1_000;

const givenUpAfterMs = 10_000;

/** Whose words they are. */
export type LogSource = 'qemu-trap' | 'hook';

export interface Stderr {
  write(text: string | Buffer, source: LogSource): void;
  /** Whether something waits for a slow reader. */
  isBusy(): boolean;
  /** Gives a slow reader of the last lines up to `ms` milliseconds. */
  drain(ms: number): Promise<void>;
}

/** What may wait: a hook's words up to a limit, and qemu-trap's own lines up to one of theirs, whatever else waits. */
export class Quota {
  #own = 0;

  /** @param waiting how many bytes wait already */
  isFor(source: LogSource, bytes: number, waiting: number): boolean {
    if (waiting === 0) this.#own = 0;
    if (source === 'hook') return waiting < queueLimit;
    if (this.#own >= ownShare) return false;
    this.#own += bytes;
    return true;
  }
}

export function lossNotice(bytes: number): Buffer {
  return Buffer.from(`qemu-trap: ${bytes} bytes of log lost: stderr was not read\n`);
}

export function fileStderr(fd: number): Stderr {
  let queue: Buffer[] = [];
  let queued = 0;
  const room = new Quota();
  let dropped = 0;
  let retryMs = firstRetryMs;
  let waited = 0;
  let timer: Timer | null = null;

  /** @returns false if the reader takes no more for now */
  const flush = (): boolean => {
    while (queue[0] !== undefined) {
      let written: number;
      try {
        written = writeSync(fd, queue[0]);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return false;
        // Closed, or a full disk: it will never be read.
        queue = [];
        queued = 0;
        return true;
      }
      queued -= written;
      retryMs = firstRetryMs;
      waited = 0;
      if (written < queue[0].length) queue[0] = queue[0].subarray(written);
      else queue.shift();
    }
    if (dropped > 0) {
      const lost = dropped;
      dropped = 0;
      append(lossNotice(lost), 'qemu-trap');
      return flush();
    }
    return true;
  };
  const append = (data: Buffer, source: LogSource): void => {
    if (!room.isFor(source, data.length, queued)) {
      dropped += data.length;
      return;
    }
    queue.push(data);
    queued += data.length;
  };
  const retry = (): void => {
    if (timer !== null) return;
    timer = startTimer(retryMs, () => {
      timer = null;
      waited += retryMs;
      retryMs = Math.min(retryMs * 2, longestRetryMs);
      if (!flush() && waited < givenUpAfterMs) retry();
    }).unref();
  };
  return {
    write: (text, source) => {
      append(typeof text === 'string' ? Buffer.from(text) : text, source);
      if (timer === null && !flush()) retry();
    },
    isBusy: () => queued > 0,
    drain: (ms) =>
      new Promise((resolve) => {
        const until = performance.now() + ms;
        const attempt = (): void => {
          if (flush() || performance.now() >= until) {
            if (fd !== 2) closeSync(fd);
            resolve();
          } else startTimer(firstRetryMs, attempt);
        };
        attempt();
      }),
  };
}
