import { renameSync, writeFileSync } from 'node:fs';
import type { ButtonState } from '../outcome/button-evidence.js';
import { buttonStates } from '../outcome/button-words.js';
import type { Writing } from '../outcome/disk-activity.js';
import { unknownRunState } from '../outcome/run-state.js';
import { runFiles } from '../run-dir/files.js';
import { readSmallFile } from '../system/small-file.js';
import { type Serving, servingOf } from './progress.js';
import type { State } from '../dispatch/state.js';
import { startTimer, type Timer } from '../system/timer.js';

/*
 * How a VM is, in a file of its run directory, for `qemu-trap --status`. Its times are of the monotonic clock of the
 * host (CLOCK_MONOTONIC of clock_gettime(2)), in milliseconds.
 */

export interface VmStatus {
  readonly vm: string;
  /** QEMU's run state (RunState of qapi/run-state.json of QEMU). */
  readonly guest: string;
  /** Signals whose chain runs, with what is waited for at most until when. */
  readonly serving: readonly Serving[];
  /** Where the ends of its runs are kept. */
  readonly history: string | null;
  /** What an administrator should look after. */
  readonly warning: string | null;
}

/** Now, on the clock of the file. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** After what was done on a signal, in milliseconds: the processor is the hook's, and QEMU's. */
const afterMs = 3;
/** From one version of the file to the next, in milliseconds: a guest that goes at once takes its host no time for more. */
const everyMs = 100;
/** More than any status has. */
const longestBytes = 64 * 1024;

/** Keeps the file up to date. What cannot be written is not there for `--status`, and no more. */
export class StatusFile {
  #timer: Timer | null = null;
  #state: State | null = null;
  #warning: string | null = null;
  #written = '';
  /** On the clock of `performance.now()`. */
  #writtenAt = -Infinity;

  /** @param file gives the path of a file in the run directory */
  constructor(
    private readonly file: (name: string) => string,
    private readonly vm: string,
    private readonly history: string | null,
  ) {}

  follow(state: State): void {
    this.#state = state;
    this.#writeSoon();
  }

  warn(warning: string | null): void {
    this.#warning = warning;
    this.#writeSoon();
  }

  close(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  #writeSoon(): void {
    const ms = Math.max(afterMs, this.#writtenAt + everyMs - performance.now());
    this.#timer ??= startTimer(ms, () => this.#write());
  }

  #write(): void {
    this.#timer = null;
    if (this.#state === null && this.#warning === null) return;
    const ahead = monotonicMs() - performance.now();
    const shift = (time: number): number => Math.round(time + ahead);
    const serving = (this.#state === null ? [] : servingOf(this.#state)).map((each) => ({
      ...each,
      since: shift(each.since),
      until: each.until === null ? null : shift(each.until),
      mostUntil: each.mostUntil === null ? null : shift(each.mostUntil),
    }));
    const status: VmStatus = {
      vm: this.vm,
      guest: this.#state?.evidence.runState ?? unknownRunState,
      serving,
      history: this.history,
      warning: this.#warning,
    };
    const text = `${JSON.stringify(status)}\n`;
    if (text === this.#written) return;
    const path = this.file(runFiles.status);
    const part = this.file(runFiles.statusPart);
    try {
      writeFileSync(part, text, { mode: 0o600 });
      renameSync(part, path);
      this.#written = text;
      this.#writtenAt = performance.now();
    } catch {
      // The disk is full, say, or the directory has gone.
    }
  }
}

/** What the file at `path` says; `null` if there is none, or none of qemu-trap's. It may be another user's. */
export function readStatus(path: string): VmStatus | null {
  try {
    const status = JSON.parse(readSmallFile(path, longestBytes) ?? 'null') as Partial<VmStatus> | null;
    const { vm, guest, serving, history, warning } = status ?? {};
    if (typeof vm !== 'string' || typeof guest !== 'string' || !Array.isArray(serving)) return null;
    return {
      vm,
      guest,
      serving: serving.filter(isServing).map(({ button, writing, mostUntil, ...each }) => ({
        ...each,
        // What a version before this one wrote has none of these.
        button: readButtonState(button),
        writing: readWriting(writing),
        mostUntil: typeof mostUntil === 'number' ? mostUntil : null,
      })),
      history: typeof history === 'string' ? history : null,
      warning: typeof warning === 'string' ? warning : null,
    };
  } catch {
    return null;
  }
}

/** One that is not known here comes from another version. */
function readButtonState(button: unknown): ButtonState | null {
  return buttonStates.find((state) => state === button) ?? null;
}

function readWriting(writing: unknown): Writing | null {
  const { bytesPerSecond, quietMs } = (writing ?? {}) as Partial<Record<keyof Writing, unknown>>;
  return typeof bytesPerSecond === 'number' && typeof quietMs === 'number' ? { bytesPerSecond, quietMs } : null;
}

function isServing(each: unknown): each is Serving {
  const { signal, waitsFor, since, until, next } = (each ?? {}) as Partial<Record<keyof Serving, unknown>>;
  return (
    typeof signal === 'string' &&
    typeof waitsFor === 'string' &&
    typeof next === 'string' &&
    typeof since === 'number' &&
    (typeof until === 'number' || until === null)
  );
}
