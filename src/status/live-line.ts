import { isatty } from 'node:tty';
import { usesTerminal } from '../qemu/argv.js';
import { isInBackground } from '../system/terminal.js';
import { type Serving, describeWait, servingOf } from './progress.js';
import type { State } from '../dispatch/state.js';
import type { LogSource, Stderr } from '../log/file-stderr.js';
import { startRepeating, type Timer } from '../system/timer.js';

/** How often it is drawn anew while something is waited for, in milliseconds. */
const drawEveryMs = 250;
const barCells = 20;

const eraseLine = '\r\x1b[K';
/** So that a narrow terminal cuts it off, and does not wrap it into a second line that would stay (DECAWM). */
const [noWrap, wrap] = ['\x1b[?7l', '\x1b[?7h'];
const colours = { plenty: '\x1b[32m', half: '\x1b[33m', little: '\x1b[31m', off: '\x1b[0m' } as const;

const nextInWords = { quit: 'QEMU is told to quit', kill: 'QEMU is killed' } as const;

/**
 * The line that says what is waited for, with a bar of the time left. The seconds come first: a narrow terminal cuts the
 * end off.
 * @param now on the clock of `serving`, in milliseconds
 */
export function formatLive(serving: Serving, now: number, isColoured: boolean): string {
  const { signal, since, until, next } = serving;
  const wait = `${signal}, waiting ${describeWait(serving)}`;
  if (until === null) return `${Math.floor((now - since) / 1000)} s so far: ${wait}`;
  const leftMs = Math.max(0, until - now);
  const share = until > since ? leftMs / (until - since) : 0;
  const filled = Math.ceil(share * barCells);
  const bar = '#'.repeat(filled).padEnd(barCells, '-');
  const colour = share > 0.5 ? colours.plenty : share > 0.2 ? colours.half : colours.little;
  const then = next === 'none' ? '' : `, then ${nextInWords[next]}`;
  return `${Math.ceil(leftMs / 1000)} s left: ${wait} [${isColoured ? `${colour}${bar}${colours.off}` : bar}]${then}`;
}

/** One line at a terminal that says what a shutdown waits for; what else is written there comes above it. */
class LiveLine {
  #serving: Serving | null = null;
  #isDrawn = false;
  /** A hook may have written half a line: nothing is drawn into it. */
  #isLineOver = true;
  #timer: Timer | null = null;

  constructor(
    private readonly stderr: Stderr,
    private readonly isColoured: boolean,
  ) {}

  /** {@link Stderr.write} for all others. */
  write(text: string | Buffer, source: LogSource): void {
    this.#erase();
    this.stderr.write(text, source);
    this.#isLineOver = text.at(-1) === '\n' || text.at(-1) === 0x0a;
  }

  follow(state: State): void {
    // Only of a shutdown: what leaves the guest running is over as soon as it begins, as a rule.
    this.#serving = state.shutdown === null ? null : (servingOf(state)[0] ?? null);
    if (this.#serving === null) return this.close();
    this.#timer ??= startRepeating(drawEveryMs, () => this.#draw());
  }

  close(): void {
    this.#timer?.cancel();
    this.#timer = null;
    this.#erase();
  }

  #draw(): void {
    // A terminal that has been stopped (Ctrl-S) must not fill up with it; what is in its foreground has it to itself.
    if (this.#serving === null || !this.#isLineOver || this.stderr.isBusy() || isInBackground()) return;
    this.stderr.write(
      `${eraseLine}${noWrap}${formatLive(this.#serving, performance.now(), this.isColoured)}${wrap}`,
      'qemu-trap',
    );
    this.#isDrawn = true;
  }

  #erase(): void {
    if (!this.#isDrawn) return;
    this.#isDrawn = false;
    // The line belongs to what is in the foreground by now.
    if (isInBackground()) return;
    this.stderr.write(`${eraseLine}${wrap}`, 'qemu-trap');
  }
}

/**
 * @param qemu its command line: a guest that has the terminal itself keeps it
 * @returns `null` if stderr is no terminal to draw on
 */
export function openLiveLine(stderr: Stderr, qemu: readonly string[], env: NodeJS.ProcessEnv): LiveLine | null {
  if (!isatty(2) || !env['TERM'] || env['TERM'] === 'dumb' || usesTerminal(qemu)) return null;
  return new LiveLine(stderr, !env['NO_COLOR']);
}
