import { isatty } from 'node:tty';
import { usesTerminal } from '../qemu/argv.js';
import { type Serving, servingOf } from './progress.js';
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

const waitsFor: Readonly<Record<Serving['waitsFor'], string>> = {
  qemu: 'QEMU to start',
  hook: 'the hook',
  guest: 'the guest to shut down',
  quit: 'QEMU to quit',
  kill: 'SIGKILL to take effect',
};

const nextInWords = { quit: 'QEMU is told to quit', kill: 'QEMU is killed' } as const;

/**
 * The line that says what is waited for, with a bar of the time left.
 * @param now on the clock of `serving`, in milliseconds
 */
export function formatLive(
  { signal, waitsFor: what, since, until, next }: Serving,
  now: number,
  isColoured: boolean,
): string {
  const words = `${signal}: waiting for ${waitsFor[what]}`;
  if (until === null) return words;
  const leftMs = Math.max(0, until - now);
  const share = until > since ? leftMs / (until - since) : 0;
  const filled = Math.ceil(share * barCells);
  const bar = '#'.repeat(filled).padEnd(barCells, '-');
  const colour = share > 0.5 ? colours.plenty : share > 0.2 ? colours.half : colours.little;
  const then = next === 'none' ? '' : `, then ${nextInWords[next]}`;
  return `${words} [${isColoured ? `${colour}${bar}${colours.off}` : bar}] ${Math.ceil(leftMs / 1000)} s left${then}`;
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
    // A terminal that has been stopped (Ctrl-S) must not fill up with it.
    if (this.#serving === null || !this.#isLineOver || this.stderr.isBusy()) return;
    this.stderr.write(
      `${eraseLine}${noWrap}${formatLive(this.#serving, performance.now(), this.isColoured)}${wrap}`,
      'qemu-trap',
    );
    this.#isDrawn = true;
  }

  #erase(): void {
    if (!this.#isDrawn) return;
    this.#isDrawn = false;
    this.stderr.write(eraseLine, 'qemu-trap');
  }
}

/**
 * @param qemu its command line: a guest that has the terminal itself keeps it
 * @returns `null` where stderr is no terminal to draw on
 */
export function openLiveLine(stderr: Stderr, qemu: readonly string[], env: NodeJS.ProcessEnv): LiveLine | null {
  if (!isatty(2) || !env['TERM'] || env['TERM'] === 'dumb' || usesTerminal(qemu)) return null;
  return new LiveLine(stderr, !env['NO_COLOR']);
}
