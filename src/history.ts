import { closeSync, constants, fstatSync, mkdirSync, openSync, readFileSync, readSync, renameSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { End, EndCause, Verdict } from './outcome.js';
import { asFileName } from './qemu/run-dir.js';
import type { SignalName } from './signals.js';
import { readSmallFile } from './small-file.js';
import { stateDirectory } from './state-directory.js';

/*
 * How the last runs of a VM ended: a file of one JSON line each, which outlives them.
 */

/** One run's end. */
export interface Stop {
  /** When, as Date has it (ISO 8601). */
  readonly time: string;
  readonly vm: string;
  readonly end: End;
  readonly verdict: Verdict;
  /** The guest was cut off. */
  readonly cut_off: boolean;
  readonly status: number;
  /** The signal that began the shutdown. */
  readonly signal: SignalName | null;
  readonly cause: EndCause | null;
  /** From the signal to the end, or from the start where no signal was, in milliseconds. */
  readonly ms: number;
  /** The timeout of the signal's rule, in milliseconds. */
  readonly timeout_ms: number | null;
  /** The last log line. */
  readonly message: string;
}

/** So many stops are kept, at least; older ones are forgotten when the file has grown past {@link longestBytes}. */
const kept = 100;
const longestBytes = 128 * 1024;
/** Of those that tell of a QEMU which did not start. */
const keptFailures = 10;

export function historyFile(asked: string | null, vm: string, env: NodeJS.ProcessEnv): string | null {
  const directory = stateDirectory(asked, env);
  return directory === null ? null : join(directory, `${asFileName(vm)}.history`);
}

/**
 * Adds a line.
 * @throws NodeJS.ErrnoException where it cannot be written
 */
export function remember(path: string, stop: Stop): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const fd = openSync(path, constants.O_RDWR | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK, 0o600);
  let isLong: boolean;
  try {
    writeSync(fd, `${endsLine(fd) ? '' : '\n'}${JSON.stringify(stop)}\n`);
    isLong = fstatSync(fd).size > longestBytes;
  } finally {
    closeSync(fd);
  }
  if (!isLong) return;
  // Aside and renamed, so that it is whole whatever comes.
  const lines = readFileSync(path, 'utf8').trimEnd().split('\n');
  // A service that is restarted again and again, and does not start, must not drive out what is known of its stops.
  const failed = lines.filter(isStartFailure).slice(0, -keptFailures);
  const part = `${path}.part`;
  rmSync(part, { force: true });
  writeFileSync(part, `${lines.filter((line) => !failed.includes(line)).slice(-kept).join('\n')}\n`, { mode: 0o600, flag: 'wx' });
  renameSync(part, path);
}

function isStartFailure(line: string): boolean {
  return line.includes('"end":"start-failed"');
}

/** False where a power failure has cut the last line short. */
function endsLine(fd: number): boolean {
  const { size } = fstatSync(fd);
  const last = Buffer.alloc(1);
  return size === 0 || (readSync(fd, last, 0, 1, size - 1) === 1 && last[0] === 0x0a);
}

/** The stops in a history file, the last one last; none where there is no such file, or not for this user. */
export function recall(path: string): Stop[] {
  const text = readSmallFile(path, 2 * longestBytes) ?? '';
  return text.split('\n').flatMap((line) => {
    try {
      const stop = JSON.parse(line) as Partial<Stop> | null;
      return typeof stop?.vm === 'string' && typeof stop.ms === 'number' && typeof stop.message === 'string' && typeof stop.time === 'string' ? [stop as Stop] : [];
    } catch {
      // A line that a power failure has cut short.
      return [];
    }
  });
}

/** What the stops of a VM say together. */
export interface Summary {
  /** Shutdowns on a signal. */
  readonly stops: number;
  /** Of these, ended by the guest itself. */
  readonly clean: number;
  /** How often the guest was cut off, on a signal or without one. */
  readonly cutOff: number;
  /** The slowest of the clean ones, from its signal, in milliseconds. */
  readonly slowestMs: number | null;
  /** How often the guest had not gone by its deadline. */
  readonly late: number;
  /** The `--timeout` that these stops speak for, in whole seconds; `null` where the guest has never gone by itself. */
  readonly wiseTimeout: number | null;
}

/** Twice the slowest is as long as a guest takes on a busier host; less than this is for guests without a file system. */
const leastWiseSeconds = 10;

export function summarize(stops: readonly Stop[]): Summary {
  const asked = stops.filter(({ signal, end }) => signal !== null && end !== 'start-failed');
  const clean = asked.filter(({ end }) => end === 'guest-shutdown' || end === 'guest-reset');
  const cutOff = stops.filter(({ cut_off }) => cut_off);
  // Of a guest that had not gone by its deadline, all that is known is that it takes longer.
  const late = asked.filter(({ cause }) => cause === 'deadline').map(({ timeout_ms }) => timeout_ms ?? 0);
  const slowestMs = clean.length === 0 ? null : Math.max(...clean.map(({ ms }) => ms));
  const longest = Math.max(slowestMs ?? 0, ...late);
  return {
    stops: asked.length,
    clean: clean.length,
    cutOff: cutOff.length,
    slowestMs,
    late: late.length,
    wiseTimeout: slowestMs === null ? null : Math.max(leastWiseSeconds, Math.ceil((2 * longest) / 5_000) * 5),
  };
}
