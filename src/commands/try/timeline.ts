import { startTimer, type Timer } from '../../system/timer.js';

/** One thing that happened. */
export interface Moment {
  /** In milliseconds, from the beginning of the timeline. */
  readonly at: number;
  readonly who: string;
  readonly what: string;
}

/** Words that come by different roads are put in the order of their times, if they come within this many milliseconds. */
const settledAfterMs = 30;

/** What happened, who did it, and when; told in its order. */
export class Timeline {
  readonly moments: Moment[] = [];
  readonly #began = Date.now();
  #waiting: Moment[] = [];
  #timer: Timer | null = null;

  constructor(private readonly print: (line: string) => void) {}

  /** @param time in milliseconds since the epoch; without it, now */
  tell(who: string, what: string, time = Date.now()): void {
    this.#waiting.push({ at: Math.max(0, time - this.#began), who, what });
    this.#settleLater();
  }

  /** Prints what has been told so far. */
  flush(): void {
    this.#timer?.cancel();
    this.#timer = null;
    this.#settle(Infinity);
  }

  #settleLater(): void {
    this.#timer ??= startTimer(settledAfterMs, () => {
      this.#timer = null;
      this.#settle(Date.now() - this.#began - settledAfterMs);
      if (this.#waiting.length > 0) this.#settleLater();
    });
  }

  #settle(until: number): void {
    const settled = this.#waiting.filter(({ at }) => at <= until).sort((a, b) => a.at - b.at);
    this.#waiting = this.#waiting.filter(({ at }) => at > until);
    for (const moment of settled) {
      this.moments.push(moment);
      this.print(`${moment.at.toFixed(0).padStart(7)} ms  ${moment.who.padEnd(10)} ${moment.what}\n`);
    }
  }
}
