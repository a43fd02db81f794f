import { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { setBlocking } from '../system/node-internals.js';
import { Quota, type Stderr, lossNotice } from './file-stderr.js';
import { startTimer } from '../system/timer.js';

/** A socket (journald's, say) cannot be opened anew: libuv's own queue on it, bounded. */
export function socketStderr(): Stderr {
  const socket = new Socket({ fd: 2, readable: false, writable: true });
  socket.unref();
  // libuv makes it blocking again for the child that inherits it as stderr, QEMU (uv_spawn), and it is the same one.
  return streamStderr(socket, () => setBlocking(socket, false));
}

export function streamStderr(stream: Writable, beforeWrite: () => void): Stderr {
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
        const timer = startTimer(ms, resolve);
        stream.write('', () => {
          timer.cancel();
          resolve();
        });
      }),
  };
}
