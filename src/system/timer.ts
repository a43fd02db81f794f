/*
 * Every wait of qemu-trap: setTimeout by itself takes Infinity, and all above 2^31-1 ms, for 1 ms (Node's documentation
 * of timers).
 */

/** The longest delay that setTimeout takes, in milliseconds. */
const longestDelayMs = 2 ** 31 - 1;

export interface Timer {
  /** Nothing comes of it any more. */
  cancel(): void;
  /** It does not keep the process alive. */
  unref(): this;
}

class Delay implements Timer {
  #timeout: NodeJS.Timeout | undefined;
  #isHeld = true;

  constructor(
    ms: number,
    private readonly then: () => void,
  ) {
    if (ms !== Infinity) this.#wait(ms);
  }

  #wait(ms: number): void {
    const part = Math.min(ms, longestDelayMs);
    this.#timeout = setTimeout(() => (part < ms ? this.#wait(ms - part) : this.then()), part);
    if (!this.#isHeld) this.#timeout.unref();
  }

  cancel(): void {
    clearTimeout(this.#timeout);
  }

  unref(): this {
    this.#isHeld = false;
    this.#timeout?.unref();
    return this;
  }
}

/** Calls `then` once, `ms` milliseconds from now; never if that is Infinity. */
export function startTimer(ms: number, then: () => void): Timer {
  return new Delay(ms, then);
}

/** Calls `then` again and again, every `ms` milliseconds, or more often if that is longer than Node can wait. */
export function startRepeating(ms: number, then: () => void): Timer {
  const interval = setInterval(then, Math.min(ms, longestDelayMs));
  const timer: Timer = {
    cancel: () => clearInterval(interval),
    unref: () => (interval.unref(), timer),
  };
  return timer;
}

/** Settled `ms` milliseconds from now. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => void startTimer(ms, resolve));
}

/** Settled when `what` is, or when `ms` milliseconds are over. */
export function within(ms: number, what: Promise<unknown>): Promise<unknown> {
  let timer: Timer | undefined;
  const over = new Promise<undefined>((resolve) => (timer = startTimer(ms, () => resolve(undefined))));
  return Promise.race([what, over]).finally(() => timer?.cancel());
}
