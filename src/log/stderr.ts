import { type Stats, constants, fstatSync, openSync } from 'node:fs';
import { isatty } from 'node:tty';
import { isInBackground } from '../system/terminal.js';
import { type Stderr, fileStderr } from './file-stderr.js';
import { pumpedStderr } from './pumped-stderr.js';
import { socketStderr } from './stream-stderr.js';

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

/** Whether stderr is a file, in which nothing says when a line came; what is under a journal has that already. */
export function isFile(env: NodeJS.ProcessEnv): boolean {
  try {
    return fstatSync(2).isFile() && !isJournal(env);
  } catch {
    return false;
  }
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
 * @returns `null` if it is another user's
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
