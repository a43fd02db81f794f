import type { ChildProcess } from 'node:child_process';
import type { Log } from '../log/log.js';
import { spawn } from '../system/spawn.js';
import { isUnderWay, describeState } from './status-text.js';
import type { State } from '../dispatch/state.js';
import { codeOf } from '../system/usage-error.js';
import { startRepeating, startTimer, type Timer, within } from '../system/timer.js';

/** By how much the service manager's clock is extended, each time (EXTEND_TIMEOUT_USEC of sd_notify(3)). */
const extendMs = 20_000;
/** How often: two of three may be lost. */
const renewMs = 5_000;
/** How long one notification may take: systemd-notify(1) waits until the manager has read it. */
const notifyWithinMs = 5_000;
/** How long the last one may keep qemu-trap from its end. */
const lastWordWithinMs = 1_000;

/** What systemd writes for no limit, in microseconds. */
const forEver = 2n ** 64n - 1n;

/**
 * How often the service manager is to hear that this process lives (sd_watchdog_enabled(3)): twice in the time that it
 * waits.
 * @returns milliseconds; `null`: it does not wait for that
 */
function heartbeatMs({ WATCHDOG_USEC: time = '', WATCHDOG_PID: pid }: NodeJS.ProcessEnv): number | null {
  const isForUs = pid === undefined || pid === String(process.pid);
  const isSet = /^[1-9]\d*$/.test(time) && BigInt(time) < forEver;
  return isForUs && isSet ? Number(time) / 2_000 : null;
}

/**
 * Tells the service manager at `$NOTIFY_SOCKET` how the VM is, in the protocol of sd_notify(3), and keeps it from
 * ending what still has time. One message is on its way at a time; what changes meanwhile goes into the next.
 *
 * Node has no datagram sockets of the unix kind, so systemd-notify(1) sends them. If there is no such manager,
 * nothing is spawned and no timer runs.
 */
export class ServiceManager {
  readonly #listens: boolean;
  readonly #pending = new Map<string, string>();
  #child: ChildProcess | null = null;
  #timer: Timer | null = null;
  #heartbeat: Timer | null = null;
  #state: State | null = null;
  #gist = '';
  #stopping = false;
  #failed = false;
  #onIdle: () => void = () => undefined;

  /** @param env qemu-trap's own, with `NOTIFY_SOCKET` if there is a manager to notify */
  constructor(
    private readonly env: NodeJS.ProcessEnv,
    private readonly log: Log,
  ) {
    this.#listens = Boolean(env['NOTIFY_SOCKET']);
  }

  /** The guest runs. */
  ready(): void {
    this.#send({ READY: '1' });
    const everyMs = this.#listens ? heartbeatMs(this.env) : null;
    // Its clock runs from READY=1 on (WatchdogSec= of systemd.service(5)).
    if (everyMs !== null) this.#heartbeat = startRepeating(everyMs, () => this.#send({ WATCHDOG: '1' }));
  }

  /** Takes the state in after each step; `waits` while qemu-trap waits for what the manager may have a clock on. */
  follow(state: State, waits: boolean): void {
    if (!this.#listens) return;
    this.#state = state;
    if (isUnderWay(state) && !this.#stopping) {
      this.#stopping = true;
      this.#send({ STOPPING: '1' });
    }
    if (waits && this.#timer === null) {
      this.#timer = startRepeating(renewMs, () => this.#extend());
      this.#extend();
    } else if (!waits && this.#timer !== null) {
      this.#timer.cancel();
      this.#timer = null;
    }
    this.#tellStatus();
  }

  /** Says how the VM ended, and waits until that is on its way: nothing is told after it. Never rejected. */
  async conclude(how: string): Promise<void> {
    this.#timer?.cancel();
    this.#heartbeat?.cancel();
    if (this.#listens) {
      const idle = new Promise<void>((resolve) => (this.#onIdle = resolve));
      this.#send({ STATUS: how });
      await within(lastWordWithinMs, idle);
    }
    this.#close();
  }

  #close(): void {
    this.#pending.clear();
    const child = this.#child;
    this.#child = null;
    child?.kill('SIGKILL');
  }

  #extend(): void {
    this.#send({ EXTEND_TIMEOUT_USEC: String(extendMs * 1000) });
    this.#tellStatus();
  }

  #tellStatus(): void {
    if (this.#state === null) return;
    const status = describeState(this.#state, performance.now());
    // The clock may have been set meanwhile, and a rate is another each time: that goes along with the next extension, and needs no message of its own.
    const gist = status.replace(/until [^;]+/, '').replace(/(still writing|last wrote)[^;,]*(, [\d.]+ [kM]B\/s)?/, '');
    if (gist === this.#gist && !this.#pending.has('EXTEND_TIMEOUT_USEC')) return;
    this.#gist = gist;
    this.#send({ STATUS: status });
  }

  #send(assignments: Readonly<Record<string, string>>): void {
    if (!this.#listens) return;
    for (const [name, value] of Object.entries(assignments)) this.#pending.set(name, value);
    // All that one step has to say goes into one message, and after what the step does.
    if (this.#child === null) setImmediate(() => this.#flush());
  }

  #flush(): void {
    if (this.#child !== null) return;
    if (this.#pending.size === 0) return this.#onIdle();
    const words = [...this.#pending].map(([name, value]) => `${name}=${value}`);
    this.#pending.clear();
    let child: ChildProcess;
    try {
      child = spawn('systemd-notify', words, {
        env: this.env,
        stdio: ['ignore', 'ignore', 'ignore'],
        detached: true,
      });
    } catch (error) {
      this.#complain(codeOf(error));
      return this.#onIdle();
    }
    this.#child = child;
    const timer = startTimer(notifyWithinMs, () => child.kill('SIGKILL'));
    const ended = (failure: string | null): void => {
      timer.cancel();
      if (this.#child !== child) return;
      if (failure !== null) this.#complain(failure);
      this.#child = null;
      this.#flush();
    };
    child.on('error', (error) => ended(codeOf(error)));
    child.on('exit', (code, signal) => {
      if (code === 0) ended(null);
      else ended(signal === 'SIGKILL' ? 'it did not end in time' : (signal ?? `status ${code}`));
    });
  }

  /** What could not be sent is lost; the next extension tries again, because a process table may be full only now. */
  #complain(why: string): void {
    if (this.#failed) return;
    this.#failed = true;
    this.log({
      event: 'notify-failed',
      level: 'warning',
      message: `cannot notify the service manager: systemd-notify(1) failed (${why})`,
    });
  }
}
