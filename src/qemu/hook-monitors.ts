import { connect, type Socket } from 'node:net';
import type { SignalName } from '../signals.js';
import type { Monitors } from './launch.js';

/** How long a hook that has ended has its last commands executed, in milliseconds. */
const drainMs = 10_000;

const redialMs = 20;

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

  /** Waits for its turn where those that wait for QEMU already are as many as it lets wait. */
  async #connect(path: string): Promise<Socket | null> {
    const until = performance.now() + drainMs;
    for (;;) {
      const socket = await this.#dial(path);
      if (socket !== 'full') return socket;
      if (this.#closed || performance.now() > until) return null;
      await new Promise((resolve) => setTimeout(resolve, redialMs));
    }
  }

  #dial(path: string): Promise<Socket | null | 'full'> {
    return new Promise((resolve) => {
      const socket = connect({ path });
      // At once, or Node reads the greeting that belongs to the hook.
      socket.pause();
      this.#open.add(socket);
      socket.once('connect', () => resolve(socket));
      // EAGAIN of connect(2): the queue of QEMU's socket, which has room for two, is full.
      socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'EAGAIN' ? 'full' : null));
      socket.once('close', () => {
        this.#open.delete(socket);
        resolve(null);
      });
    });
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
