import type { Socket } from 'node:net';
import { setBlocking } from '../system/node-internals.js';
import { lineSplitter } from '../qmp/lines.js';
import { readMessage } from '../qmp/messages.js';
import { dialMonitor } from '../qmp/dial.js';
import { startTimer } from '../system/timer.js';

/** How long a hook that has exited has its last commands executed, in milliseconds. */
const drainMs = 10_000;

/** Answered by QEMU in any state of a connection, be it with an error. */
const drainId = 'qemu-trap-drain';
const drainMark = `"${drainId}"`;
/** 0xFF resets QEMU's JSON lexer, if the hook left half a command (docs/interop/qmp-spec of QEMU). */
const drainCommand = Buffer.concat([
  Buffer.from([0xff]),
  Buffer.from(`{"execute":"query-version","id":${drainMark}}\n`),
]);

/**
 * The connections that become the hooks' fd 3, by what a hook is for (`For`). Those to the paths `ahead` are made
 * ahead: at a signal one is there, whatever has become of the run directory, the descriptors or QEMU's main loop meanwhile.
 */
export class HookConnections<For> {
  /** On their way, or ready. */
  readonly #coming = new Map<string, Promise<void>>();
  readonly #ready = new Map<string, Socket>();
  readonly #open = new Set<Socket>();
  /** Those that hooks have. */
  readonly #taken = new Map<For, Socket>();
  #isHeld = false;
  #closed = false;

  /** @param path the socket of the monitor that a hook for this is to have */
  constructor(
    ahead: readonly string[],
    private readonly path: (what: For) => string,
  ) {
    for (const each of ahead) this.#prepare(each);
  }

  #prepare(path: string): void {
    // One ahead, no more: a second would sit on the monitor as its only client, and would never be used.
    if (this.#closed || this.#coming.has(path)) return;
    this.#coming.set(path, this.#connect(path));
  }

  async #connect(path: string): Promise<void> {
    const socket = await dialMonitor(path, drainMs, () => !this.#closed).catch(() => null);
    if (socket === null || this.#closed) {
      socket?.destroy();
      this.#coming.delete(path);
      return;
    }
    this.#open.add(socket);
    this.#ready.set(path, socket);
    socket.on('error', () => undefined);
    socket.once('close', () => {
      this.#open.delete(socket);
      if (this.#ready.get(path) === socket) this.#forget(path);
    });
  }

  #forget(path: string): void {
    this.#ready.delete(path);
    this.#coming.delete(path);
  }

  /**
   * A connection for one run of a hook: in blocking mode, greeting unread.
   * @returns `null` if none is ready
   */
  takeReady(what: For): Socket | null {
    const path = this.path(what);
    const socket = this.#ready.get(path);
    if (socket === undefined) return null;
    this.#forget(path);
    if (socket.destroyed) return null;
    setBlocking(socket, true);
    this.#taken.set(what, socket);
    return socket;
  }

  /**
   * The same, waited for.
   * @returns `null` if QEMU takes none
   */
  async take(what: For): Promise<Socket | null> {
    const path = this.path(what);
    await this.#coming.get(path);
    const socket = this.takeReady(what);
    if (socket !== null) return socket;
    this.#prepare(path);
    await this.#coming.get(path);
    return this.takeReady(what);
  }

  /** QEMU exits or is told to, or stays after all: meanwhile nothing is said on any of these. */
  hold(isHeld: boolean): void {
    this.#isHeld = isHeld;
  }

  /** Hooks can say nothing more on their monitors; what QEMU says they still read. */
  silence(): void {
    for (const socket of this.#taken.values()) socket.end();
  }

  /** Takes a connection back that no hook has had. */
  putBack(what: For, socket: Socket): void {
    this.#taken.delete(what);
    setBlocking(socket, false);
    const path = this.path(what);
    if (this.#closed || this.#coming.has(path)) return void socket.destroy();
    this.#coming.set(path, Promise.resolve());
    this.#ready.set(path, socket);
  }

  /**
   * Takes a connection back when its hook has exited, and keeps it until QEMU has executed what the hook wrote: QEMU
   * drops the commands of a client that hangs up.
   * @param isLast QEMU may exit at any moment: it is kept open, and nothing is said on it
   * @returns QEMU's last error in its answers that the hook has not read; `null` if there is none
   */
  async giveBack(what: For, socket: Socket, isLast: boolean): Promise<string | null> {
    setBlocking(socket, false);
    if (this.#taken.get(what) === socket) this.#taken.delete(what);
    const error = this.#isHeld ? null : await this.#drain(socket, isLast);
    socket.destroy();
    // If QEMU stays after all, the next hook asks for one.
    if (!this.#isHeld) this.#prepare(this.path(what));
    return error;
  }

  #drain(socket: Socket, isSilent: boolean): Promise<string | null> {
    return new Promise((resolve) => {
      const errors: string[] = [];
      const drained = (): void => {
        timer.cancel();
        // The last one is the answer to our 0xFF.
        resolve(errors.at(isSilent ? -1 : -2) ?? null);
      };
      const timer = startTimer(drainMs, drained);
      const split = lineSplitter((line) => {
        const message = readMessage(line);
        if (line.includes(drainMark)) drained();
        else if (message.kind === 'error') errors.push(message.error.desc);
      });
      socket.on('data', split);
      socket.once('close', drained);
      socket.resume();
      if (socket.destroyed) drained();
      else if (!isSilent) socket.write(drainCommand);
    });
  }

  close(): void {
    this.#closed = true;
    for (const socket of this.#open) socket.destroy();
  }
}
