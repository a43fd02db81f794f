import { connect, type Socket } from 'node:net';
import { pause } from '../system/timer.js';

const redialMs = 20;

/** One attempt; rejected with the error of connect(2). */
function dialOnce(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path });
    // At once, or Node reads the greeting that belongs to the one who is to have the connection.
    socket.pause();
    socket.once('error', reject);
    socket.once('connect', () => resolve(socket.off('error', reject)));
  });
}

/**
 * A connection to the monitor at `path`, paused, its greeting unread. If as many wait for QEMU already as it lets
 * wait (two), it waits for its turn.
 * @param withinMs how long for, in milliseconds
 * @param isWanted asked before each further attempt
 * @throws NodeJS.ErrnoException of connect(2); EAGAIN if its turn has not come
 */
export async function dialMonitor(
  path: string,
  withinMs: number,
  isWanted: () => boolean = () => true,
): Promise<Socket> {
  const until = performance.now() + withinMs;
  for (;;) {
    try {
      return await dialOnce(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN' || !isWanted() || performance.now() > until) throw error;
    }
    await pause(redialMs);
  }
}
