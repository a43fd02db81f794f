import type { Log } from '../log/log.js';
import type { Qemu } from '../qemu/qemu.js';
import type { Survival } from './survival.js';
import { startRepeating, type Timer } from '../system/timer.js';

/** How often a QEMU that is to exit is looked at, for a SIGSTOP that keeps it from doing so. */
const wakeEveryMs = 1_000;

/** Lets a QEMU continue that SIGSTOP holds: it hears neither its button nor `quit`. */
export class Waker {
  #looking: Timer | undefined;

  constructor(
    private readonly qemu: Qemu,
    private readonly log: Log,
    private readonly survival: Survival,
  ) {}

  /** Looks again and again: SIGSTOP takes its time, and may come at any. */
  start(): void {
    this.#looking ??= startRepeating(wakeEveryMs, () => this.survival.attempt(() => this.wake()));
  }

  stop(): void {
    this.#looking?.cancel();
    this.#looking = undefined;
  }

  wake(): void {
    const { qemu } = this;
    if (!qemu.wake()) return;
    this.log({
      event: 'woken',
      level: 'warning',
      message: `QEMU was stopped by SIGSTOP; qemu-trap sent it SIGCONT so that it can shut down (pid ${qemu.pid})`,
      facts: { pid: qemu.pid },
    });
  }
}
