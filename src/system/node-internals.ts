import { readSync, writeSync } from 'node:fs';
import type { Socket } from 'node:net';
import { startTimer } from './timer.js';

/*
 * What Node can do and its documentation does not say.
 */

/** Node's own handle of a socket (lib/net.js, pipe_wrap.cc of Node). */
interface Handle {
  readonly fd?: number;
  setBlocking?(blocking: boolean): number;
}

function handleOf(socket: Socket): Handle | null {
  return (socket as unknown as { readonly _handle: Handle | null })._handle;
}

/** Whether reads and writes on a socket wait: a child that gets it as a descriptor gets that flag too (O_NONBLOCK). */
export function setBlocking(socket: Socket, blocking: boolean): void {
  handleOf(socket)?.setBlocking?.(blocking);
}

/** The descriptor of a socket; `null` if it is closed. */
function descriptorOf(socket: Socket): number | null {
  const fd = socket.destroyed ? undefined : handleOf(socket)?.fd;
  return fd === undefined || fd < 0 ? null : fd;
}

const retryEveryMs = 20;

type Done = (error?: Error | null) => void;

/** Writes all of `data` on a non-blocking descriptor. What the peer cannot take any more is dropped. */
function write(socket: Socket, data: Buffer, done: Done): void {
  const fd = descriptorOf(socket);
  if (fd === null) return done();
  try {
    const written = writeSync(fd, data);
    if (written === data.length) return done();
    data = data.subarray(written);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return done();
  }
  startTimer(retryEveryMs, () => write(socket, data, done));
}

/**
 * Lets a connected socket be read to its end, though its peer takes nothing more: after a write that failed Node would
 * destroy it with the peer's last words unread.
 */
export function keepReadable(socket: Socket): void {
  Object.assign(socket, {
    _write: (chunk: Buffer | string, encoding: BufferEncoding, done: Done) =>
      write(socket, typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk, done),
    _writev: null,
  });
}

/**
 * Reads what the peer has written before now, without waiting, and hands it on as the socket's own data. A unix socket
 * holds all that its peer wrote, also if that has ended (unix(7)).
 */
export function readRest(socket: Socket): void {
  for (;;) {
    const fd = descriptorOf(socket);
    if (fd === null) return;
    const chunk = Buffer.allocUnsafe(64 * 1024);
    let length: number;
    try {
      length = readSync(fd, chunk);
    } catch {
      // Nothing more (EAGAIN), or a peer that left something of ours unread (ECONNRESET).
      return;
    }
    if (length === 0) return;
    socket.push(chunk.subarray(0, length));
  }
}
