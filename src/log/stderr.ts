import { closeSync, constants, fstatSync, openSync, type Stats, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { isatty } from 'node:tty';
import { setBlocking } from '../system/node-internals.js';
import { spawn } from '../system/spawn.js';
import { isInBackground } from '../system/terminal.js';
import { helperEnvironment } from '../system/own-environment.js';

/** Whether stderr leads to journald, which says so in `$JOURNAL_STREAM` (systemd.exec(5)). */
export function isJournal(env: NodeJS.ProcessEnv): boolean {
  const stream = env['JOURNAL_STREAM'];
  if (!stream) return false;
  try {
    const { dev, ino } = fstatSync(2, { bigint: true });
    return stream === `${dev}:${ino}`;
  } catch {
    return false;
  }
}

/** Where this much waits for a slow reader, what comes is counted and dropped. */
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

/**
 * A stderr that never blocks. Node writes to pipes, files and terminals of its own stderr in blocking mode, so a
 * reader that has stopped would stop the event loop and with it every deadline.
 */
export function openStderr(): Stderr {
  let stats: Stats;
  try {
    stats = fstatSync(2);
  } catch {
    return { write: () => undefined, isBusy: () => false, drain: async () => undefined };
  }
  if (stats.isFile()) return fileStderr(2);
  if (stats.isSocket()) {
    try {
      return socketStderr();
    } catch {
      // A datagram socket, which Node does not take.
      return fileStderr(2);
    }
  }
  const fd = reopened();
  if (fd === null) return pumpedStderr();
  return isatty(2) ? terminalStderr(fileStderr(fd)) : fileStderr(fd);
}

/**
 * In its background, with tostop (stty(1)), a terminal has the kernel restart a write for ever, O_NONBLOCK or not.
 * @param direct for as long as it is ours
 */
function terminalStderr(direct: Stderr): Stderr {
  let pumped: Stderr | null = null;
  return {
    write: (text, source) => {
      if (pumped === null && isInBackground()) pumped = pumpedStderr();
      (pumped ?? direct).write(text, source);
    },
    isBusy: () => (pumped ?? direct).isBusy(),
    drain: async (ms) => {
      if (pumped === null && !isInBackground()) await direct.drain(ms);
      await pumped?.drain(ms);
    },
  };
}

/**
 * A pipe that is opened anew has flags of its own (open(2)): non-blocking here, and as it was for QEMU, which has the
 * old one.
 * @returns `null` where it is another user's
 */
function reopened(): number | null {
  try {
    return openSync(
      '/proc/self/fd/2',
      constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY | constants.O_APPEND,
    );
  } catch {
    return null;
  }
}

/** What may wait: a hook's words up to a limit, and qemu-trap's own lines up to one of theirs, whatever else waits. */
class Quota {
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

function lossNotice(bytes: number): Buffer {
  return Buffer.from(`qemu-trap: ${bytes} bytes of log lost: stderr was not read\n`);
}

function fileStderr(fd: number): Stderr {
  let queue: Buffer[] = [];
  let queued = 0;
  const room = new Quota();
  let dropped = 0;
  let retryMs = firstRetryMs;
  let waited = 0;
  let timer: NodeJS.Timeout | null = null;

  /** @returns false where the reader takes no more for now */
  const flush = (): boolean => {
    while (queue[0] !== undefined) {
      let written: number;
      try {
        written = writeSync(fd, queue[0]);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return false;
        // Closed, or a full disk: nobody will ever read it.
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
    timer = setTimeout(() => {
      timer = null;
      waited += retryMs;
      retryMs = Math.min(retryMs * 2, longestRetryMs);
      if (!flush() && waited < givenUpAfterMs) retry();
    }, retryMs);
    timer.unref();
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
          } else setTimeout(attempt, firstRetryMs);
        };
        attempt();
      }),
  };
}

/** A socket (journald's, say) cannot be opened anew: libuv's own queue on it, bounded. */
function socketStderr(): Stderr {
  const socket = new Socket({ fd: 2, readable: false, writable: true });
  socket.unref();
  // libuv makes it blocking again for whoever inherits it as stderr, QEMU (uv_spawn), and it is the same one.
  return streamStderr(socket, () => setBlocking(socket, false));
}

function streamStderr(stream: Writable, beforeWrite: () => void): Stderr {
  stream.on('error', () => undefined);
  const room = new Quota();
  let dropped = 0;
  return {
    write: (text, source) => {
      if (stream.destroyed) return;
      if (!room.isFor(source, text.length, stream.writableLength)) {
        dropped += text.length;
        return;
      }
      beforeWrite();
      if (dropped > 0) stream.write(lossNotice(dropped));
      dropped = 0;
      stream.write(text);
    },
    isBusy: () => stream.writableLength > 0,
    drain: (ms) =>
      new Promise((resolve) => {
        if (stream.destroyed || stream.writableLength === 0) return resolve();
        const timer = setTimeout(resolve, ms);
        stream.write('', () => {
          clearTimeout(timer);
          resolve();
        });
      }),
  };
}

/** cat(1), in a session of its own, where the terminal stops nobody, and deaf to what is meant for its neighbours. */
const pump = ['sh', '-c', "trap '' TERM INT HUP QUIT; exec cat"] as const;

/**
 * A terminal, or what cannot be opened anew: whatever blocks there blocks a child that writes to it, and never the event
 * loop. It is started with the first word.
 */
function pumpedStderr(): Stderr {
  let started: { readonly stderr: Stderr; finish(ms: number): Promise<void> } | null = null;
  const start = (): NonNullable<typeof started> => {
    const [command, ...args] = pump;
    const child = spawn(command, args, { stdio: ['pipe', 2, 2], detached: true, env: helperEnvironment(process.env) });
    const gone = new Promise<void>((resolve) => void child.on('error', () => resolve()).on('exit', () => resolve()));
    child.unref();
    const { stdin } = child;
    if (!(stdin instanceof Socket)) return { stderr: fileStderr(2), finish: async () => undefined };
    stdin.unref();
    const finish = (ms: number): Promise<void> => {
      stdin.end();
      // It must not be the last thing that the event loop waits for, and not count.
      child.ref();
      // Held by whoever does not read: it goes with us.
      const timer = setTimeout(() => child.kill('SIGKILL'), ms);
      return gone.finally(() => clearTimeout(timer));
    };
    return { stderr: streamStderr(stdin, () => undefined), finish };
  };
  return {
    write: (text, source) => (started ??= start()).stderr.write(text, source),
    isBusy: () => started?.stderr.isBusy() ?? false,
    drain: async (ms) => started?.finish(ms),
  };
}
