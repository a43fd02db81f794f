import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createParents } from '../system/make-directories.js';
import { readSmallFile } from '../system/small-file.js';
import type { RunRecord, RunStart } from './run-record.js';

/*
 * How the last runs of a VM ended: a file of JSON lines, which outlives them. A run has two lines with one `run`: the
 * first when QEMU was started, the second when it has ended. A first line without a second is of a run that goes on, or
 * whose qemu-trap was killed.
 */

/** So many runs are kept, at least; older ones are forgotten when the file has grown past {@link longestBytes}. */
export const kept = 100;
export const longestBytes = 192 * 1024;
/** Of those that tell of a QEMU which did not start. */
const keptFailures = 10;
/** Of a VM whose name was made of its command line: it has another one with the next change. */
export const keptOfUnnamed = 3;

export function append(path: string, line: RunStart | RunRecord): void {
  createParents(path, 0o700);
  const fd = openSync(
    path,
    constants.O_RDWR | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK,
    0o600,
  );
  try {
    const stats = fstatSync(fd);
    // Of another name it is the file of another.
    if (!stats.isFile() || stats.nlink > 1) throw new Error('it is not a regular file with a single name');
    writeSync(fd, `${endsLine(fd) ? '' : '\n'}${JSON.stringify(line)}\n`);
  } finally {
    closeSync(fd);
  }
}

/** False if a power failure has cut the last line short. */
function endsLine(fd: number): boolean {
  const { size } = fstatSync(fd);
  const last = Buffer.alloc(1);
  return size === 0 || (readSync(fd, last, 0, 1, size - 1) === 1 && last[0] === 0x0a);
}

/** A line of the file, with what it says. */
type Line = { readonly text: string } & ({ readonly start: RunStart } | { readonly record: RunRecord });

function readLine(text: string): Line | null {
  try {
    const said = JSON.parse(text) as Partial<RunStart & RunRecord> | null;
    if (typeof said?.vm !== 'string' || typeof said.time !== 'string') return null;
    if (typeof said.message === 'string' && (typeof said.ms === 'number' || said.ms === null))
      return { text, record: said as RunRecord };
    return typeof said.run === 'string' && typeof said.trap === 'string' && typeof said.qemu === 'string'
      ? { text, start: said as RunStart }
      : null;
  } catch {
    // A line that a power failure has cut short.
    return null;
  }
}

/** A name for a run of this process. */
export function newRun(): string {
  return `${Date.now().toString(36)}-${process.pid.toString(36)}`;
}

/** Whether the process of that number has given a run its name. */
export function isRunOf(run: string, pid: number): boolean {
  return run.endsWith(`-${pid.toString(36)}`);
}

/** What the file says of one run. */
export interface Run {
  readonly lines: Line[];
  start: RunStart | null;
  record: RunRecord | null;
}

/** The runs in the order of what was last written of them. */
function readRuns(text: string): Run[] {
  const runs = new Set<Run>();
  const byName = new Map<string, Run>();
  for (const each of text.split('\n')) {
    const line = readLine(each);
    if (line === null) continue;
    const name = 'start' in line ? line.start.run : line.record.run;
    let run = name === undefined ? undefined : byName.get(name);
    if (run === undefined) {
      run = { lines: [], start: null, record: null };
      if (name !== undefined) byName.set(name, run);
    }
    runs.delete(run);
    runs.add(run);
    run.lines.push(line);
    if ('start' in line) run.start = line.start;
    else run.record = line.record;
  }
  return [...runs];
}

/** Writes the file anew: aside and renamed, so that it is whole whatever comes. */
export function write(path: string, lines: readonly string[]): void {
  const part = `${path}.part`;
  rmSync(part, { force: true });
  if (lines.length === 0) return rmSync(path);
  writeFileSync(part, lines.map((line) => `${line}\n`).join(''), { mode: 0o600, flag: 'wx' });
  renameSync(part, path);
}

/** Writes the file anew with some of its runs, if not all are kept. */
export function rewrite(path: string, keep: (runs: readonly Run[]) => readonly Run[]): void {
  const all = readRuns(readFileSync(path, 'utf8'));
  const runs = keep(all);
  if (runs.length === all.length) return;
  write(
    path,
    runs.flatMap(({ lines }) => lines.map(({ text }) => text)),
  );
}

/** The last `most` runs, without those whose QEMU did not start, but for the last few. */
export function lastRuns(runs: readonly Run[], most: number): readonly Run[] {
  // A service that is restarted again and again, and does not start, must not drive out what is known of its stops.
  const failed = runs.filter(({ record }) => record?.end === 'start-failed').slice(0, -keptFailures);
  return runs.filter((run) => !failed.includes(run)).slice(-most);
}

/** It may be another user's. */
export function readFile(path: string): Run[] {
  return readRuns(readSmallFile(path, 2 * longestBytes) ?? '');
}
