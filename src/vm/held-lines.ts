import type { State } from '../dispatch/state.js';
import type { LogSource } from '../log/file-stderr.js';

type Write = (text: string | Buffer, source: LogSource) => void;

/**
 * Lines that are held back until there is a guest to tell of, for a call that may be about something else, or wrong: what
 * QEMU says of that is enough.
 */
export class HeldLines {
  /** `null`: nothing is held back. */
  #held: Parameters<Write>[] | null = [];
  /** QEMU has exited, and there was no guest. */
  #isOver = false;

  constructor(private readonly out: Write) {}

  write(text: string | Buffer, source: LogSource): void {
    if (this.#held === null) this.out(text, source);
    else if (!this.#isOver) this.#held.push([text, source]);
  }

  follow({ monitorUp, shutdown }: State): void {
    if (monitorUp || shutdown !== null) this.release();
  }

  warn(warning: string | null): void {
    if (warning !== null) this.release();
  }

  close(): void {
    if (this.#held !== null) {
      this.#held = [];
      this.#isOver = true;
    }
  }

  /** Writes what was held back, and from now on all at once. */
  release(): void {
    const held = this.#held ?? [];
    this.#held = null;
    for (const [text, source] of held) this.out(text, source);
  }
}
