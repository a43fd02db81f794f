import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { bootSector, guestSays } from '../src/commands/try/guest.js';
import { QmpClient } from '../src/qmp/client.js';
import type { QmpEvent } from '../src/qmp/messages.js';
import { until } from '../test/support/lab.js';
import { inTime, wallClock } from './clock.js';
import type { Contender, Keeper } from './contenders.js';

/** Something that happens once, at a time. */
class Moment {
  readonly #at: Promise<number>;
  #happen!: (at: number) => void;
  #has = false;

  constructor(private readonly what: string) {
    this.#at = new Promise((resolve) => (this.#happen = resolve));
  }

  happens(at: number): void {
    this.#has = true;
    this.#happen(at);
  }

  get has(): boolean {
    return this.#has;
  }

  at(): Promise<number> {
    return inTime(this.what, this.#at);
  }
}

/** A VM of a contender's, with a monitor that no contender uses: QEMU dials it, so that nobody has to poll. */
export class Vm {
  readonly dir = mkdtempSync(join(tmpdir(), 'qemu-trap-bench-'));
  readonly keeper: Keeper;
  readonly #startedAt: number;
  readonly #observer: Server;
  readonly #answered = new Moment('QEMU has a monitor');
  readonly #pressed = new Moment('POWERDOWN');
  readonly #gone = new Moment('QEMU has gone');
  #client: QmpClient | null = null;

  constructor(private readonly contender: Contender) {
    this.#observer = createServer((socket) => this.#observe(socket)).listen(this.file('observer'));
    writeFileSync(this.file('guest.img'), bootSector());
    const qemu = [
      'qemu-system-x86_64',
      '-M',
      'pc',
      '-m',
      '16',
      '-display',
      'none',
      '-net',
      'none',
      '-serial',
      `file:${this.file('serial')}`,
      '-drive',
      `file=${this.file('guest.img')},format=raw`,
      '-chardev',
      `socket,id=observer,path=${this.file('observer')}`,
      '-mon',
      'chardev=observer,mode=control',
    ];
    this.#startedAt = performance.now();
    this.keeper = contender.begin({ name: basename(this.dir), file: (name) => this.file(name) }, qemu);
  }

  file(name: string): string {
    return join(this.dir, name);
  }

  #observe(socket: Socket): void {
    socket.once('data', () => this.#answered.happens(performance.now()));
    const onEvent = ({ event, timestamp }: QmpEvent): void => {
      const { seconds, microseconds } = timestamp as { seconds: number; microseconds: number };
      if (event === 'POWERDOWN') this.#pressed.happens(seconds * 1_000 + microseconds / 1_000);
    };
    this.#client = new QmpClient(socket, { onEvent, onClose: () => this.#gone.happens(wallClock()) });
  }

  /** @returns after how many milliseconds QEMU's monitor answered */
  async answers(): Promise<number> {
    return (await this.#answered.at()) - this.#startedAt;
  }

  async guestIsUp(): Promise<void> {
    await this.#answered.at();
    await until('the guest is up', () => this.#read('serial').includes(guestSays.up));
  }

  #read(name: string): string {
    try {
      return readFileSync(this.file(name), 'utf8');
    } catch {
      return '';
    }
  }

  /** @returns when QEMU pressed the power button, on {@link wallClock} */
  async pressed(): Promise<number> {
    try {
      return await this.#pressed.at();
    } catch (error) {
      throw new Error(`${this.contender.name}: ${String(error)}; its stderr:\n${this.#read('stderr')}`);
    }
  }

  /** @returns when all was over, on {@link wallClock} */
  async over(): Promise<number> {
    return (
      await Promise.all([
        this.#gone.at(),
        this.keeper.exited === null ? 0 : inTime('the wrapper ends', this.keeper.exited),
      ])
    ).reduce((a, b) => Math.max(a, b));
  }

  /** Ends what is left, and removes the folder. */
  async clear(): Promise<void> {
    // A wrapper that is killed may leave its QEMU.
    if (this.#client !== null) {
      if (!this.#gone.has) void this.#client.execute('quit').catch(() => undefined);
      await this.#gone.at();
    }
    await this.keeper.clear();
    this.#observer.close();
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  }
}
