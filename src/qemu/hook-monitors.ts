import type { Socket } from 'node:net';
import type { SignalName } from '../signals.js';
import { dialMonitor } from './dial.js';
import type { Monitors } from './launch.js';

/** How long a hook that has ended has its last commands executed, in milliseconds. */
const drainMs = 10_000;

/** Answered by QEMU in any state of a connection, be it with an error. */
const drainId = 'qemu-trap-drain';
const drainMark = `"${drainId}"`;
/** 0xFF resets QEMU's JSON lexer, where the hook left half a command (docs/interop/qmp-spec of QEMU). */
const drainCommand = Buffer.concat([Buffer.from([0xff]), Buffer.from(`{"execute":"query-version","id":${drainMark}}\n`)]);

/** What Node's own handle of a socket can do, and its types do not name. */
interface Handle {
  setBlocking(blocking: boolean): number;
}

function setBlocking(socket: Socket, blocking: boolean): void {
  (socket as unknown as { _handle: Handle | null })._handle?.setBlocking(blocking);
}

/**
 * The connections that become the hooks' fd 3. Each is made ahead: at the signal it is there, whatever has become of
 * the run directory, the descriptors or QEMU's main loop meanwhile.
 */
export class HookMonitors {
  readonly #ready = new Map<string, Promise<Socket | null>>();
  readonly #open = new Set<Socket>();
  #closed = false;

  constructor(private readonly monitors: Monitors) {
    for (const path of [...monitors.hooks.values(), monitors.lateHooks]) this.#prepare(path);
  }

  #path(signal: SignalName): string {
    return this.monitors.hooks.get(signal) ?? this.monitors.lateHooks;
  }

  #prepare(path: string): void {
    // One ahead, no more: a second would sit on the monitor as its only client, and nobody would ever use it.
    if (this.#closed || this.#ready.has(path)) return;
    this.#ready.set(path, this.#connect(path));
  }

  async #connect(path: string): Promise<Socket | null> {
    const socket = await dialMonitor(path, drainMs, () => !this.#closed).catch(() => null);
    if (socket === null || this.#closed) {
      socket?.destroy();
      return null;
    }
    this.#open.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => this.#open.delete(socket));
    return socket;
  }

  /**
   * A connection for one run of `signal`'s hook: in blocking mode, greeting unread.
   * @returns `null` where QEMU takes none
   */
  async take(signal: SignalName): Promise<Socket | null> {
    const path = this.#path(signal);
    let socket = await this.#ready.get(path);
    this.#ready.delete(path);
    if (!socket || socket.destroyed) {
      this.#prepare(path);
      socket = (await this.#ready.get(path)) ?? null;
      this.#ready.delete(path);
    }
    if (socket) setBlocking(socket, true);
    return socket ?? null;
  }

  /**
   * Takes a connection back when its hook has ended, and keeps it until QEMU has executed what the hook wrote: QEMU
   * drops the commands of a client that hangs up.
   */
  async giveBack(signal: SignalName, socket: Socket): Promise<void> {
    setBlocking(socket, false);
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, drainMs);
      const drained = (): void => {
        clearTimeout(timer);
        resolve();
      };
      let tail = '';
      socket.on('data', (chunk: Buffer) => {
        const text = tail + chunk.toString('latin1');
        if (text.includes(drainMark)) drained();
        tail = text.slice(-drainMark.length);
      });
      socket.once('close', drained);
      socket.resume();
      if (socket.destroyed) drained();
      else socket.write(drainCommand);
    });
    socket.destroy();
    this.#prepare(this.#path(signal));
  }

  close(): void {
    this.#closed = true;
    for (const socket of this.#open) socket.destroy();
  }
}
