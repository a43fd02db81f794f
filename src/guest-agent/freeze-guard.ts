import { existsSync, unlinkSync } from 'node:fs';
import type { Log } from '../log/log.js';
import { errorText } from '../system/usage-error.js';
import { askAgent } from './client.js';
import { pause, startTimer, type Timer } from '../system/timer.js';

export const freezes: readonly string[] = ['guest-fsfreeze-freeze', 'guest-fsfreeze-freeze-list'];
export const thaws = 'guest-fsfreeze-thaw';

/** Why: said in the log. */
export const toShutDown = 'a shutdown has begun';

/** How long one attempt to thaw may take, in milliseconds: the guest writes out what had to wait. */
const thawWithinMs = 10_000;
const retryAfterMs = 1_000;
/** How often: an agent that hangs is not asked for ever. */
const attempts = 30;

/**
 * Sees to it that a guest which a hook has frozen is thawed, whatever happens to the hook: at once if the hook
 * failed, at the deadline of its signal if it succeeded, and first of all when a shutdown begins, for a frozen
 * guest cannot shut itself down.
 */
export class FreezeGuard {
  #timer: Timer | null = null;
  #thawing = false;
  #closed = false;

  constructor(
    private readonly agent: string | null,
    private readonly mark: string,
    private readonly log: Log,
  ) {}

  /**
   * @param now why it cannot wait until the deadline, or `null`
   * @param deadline of the hook's signal, on the clock of `performance.now()`
   */
  hookEnded(now: string | null, deadline: number): void {
    if (!this.#frozen()) return;
    if (now !== null) return void this.#thaw(now);
    this.#timer?.cancel();
    this.#timer = startTimer(
      Math.max(0, deadline - performance.now()),
      () => void this.#thaw('nothing thawed it in time'),
    );
  }

  stopBegins(): void {
    if (this.#frozen()) void this.#thaw(toShutDown);
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  #frozen(): boolean {
    return this.agent !== null && existsSync(this.mark);
  }

  async #thaw(because: string): Promise<void> {
    if (this.#thawing || this.agent === null) return;
    this.#thawing = true;
    let last: unknown;
    for (let attempt = 0; attempt < attempts && this.#frozen() && !this.#closed; attempt++) {
      if (attempt > 0) await pause(retryAfterMs);
      try {
        const thawed = await askAgent(this.agent, thaws, undefined, thawWithinMs);
        unlinkSync(this.mark);
        this.log({
          event: 'thawed',
          level: 'warning',
          message: `the guest was still frozen, and ${because}; thawed it (${typeof thawed === 'number' ? thawed : 'unknown'} file systems)`,
          facts: { because },
        });
      } catch (error) {
        last = error;
      }
    }
    this.#thawing = false;
    if (this.#frozen() && !this.#closed) {
      this.log({
        event: 'thaw-failed',
        level: 'error',
        message: `the guest may still be frozen: ${errorText(last)}`,
        facts: { because },
      });
    }
  }
}
