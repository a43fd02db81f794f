import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { asFileName } from '../run-dir/name.js';
import { quietly } from '../system/quietly.js';
import { createParents } from '../system/make-directories.js';
import { identify, isIdentityAlive } from '../system/process-identity.js';
import { readSmallFile } from '../system/small-file.js';
import { stateDirectory } from '../system/state-directory.js';
import type { RunRecord, RunStart } from './run-record.js';

/*
 * How the last runs of a VM ended: a file of JSON lines, which outlives them. A run has two lines with one `run`: the
 * first when QEMU was started, the second when it has ended. A first line without a second is of a run that goes on, or
 * whose qemu-trap was killed.
 */

/** So many runs are kept, at least; older ones are forgotten when the file has grown past {@link longestBytes}. */
const kept = 100;
const longestBytes = 192 * 1024;
/** Of those that tell of a QEMU which did not start. */
const keptFailures = 10;
/** Of a VM whose name was made of its command line: it has another one with the next change. */
const keptOfUnnamed = 3;

const historySuffix = '.history';

export function historyFile(asked: string | null, vm: string, env: NodeJS.ProcessEnv): string | null {
  const directory = stateDirectory(asked, env);
  return directory === null ? null : join(directory, `${asFileName(vm)}${historySuffix}`);
}

/** The files of the state directory. */
function historiesIn(asked: string | null, env: NodeJS.ProcessEnv): string[] {
  const directory = stateDirectory(asked, env);
  let names: string[] = [];
  if (directory !== null) quietly(() => (names = readdirSync(directory)));
  return names.filter((name) => name.endsWith(historySuffix)).map((name) => join(directory ?? '', name));
}

/** The names of the VMs whose histories are in the state directory. */
export function rememberedVms(asked: string | null, env: NodeJS.ProcessEnv): string[] {
  return historiesIn(asked, env)
    .flatMap((path) => readFile(path).at(-1)?.lines.at(-1) ?? [])
    .map((line) => ('start' in line ? line.start.vm : line.record.vm));
}

/**
 * The VM that a QEMU runs, by the first line of its run; `null` if no history has it.
 * @param qemu its pid and start time
 */
export function vmOfQemu(qemu: string, asked: string | null, env: NodeJS.ProcessEnv): string | null {
  for (const path of historiesIn(asked, env)) {
    const run = readFile(path).find(({ start, record }) => record === null && start?.qemu === qemu);
    if (run?.start) return run.start.vm;
  }
  return null;
}

function append(path: string, line: RunStart | RunRecord): void {
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

/** What the file says of one run. */
interface Run {
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
function write(path: string, lines: readonly string[]): void {
  const part = `${path}.part`;
  rmSync(part, { force: true });
  if (lines.length === 0) return rmSync(path);
  writeFileSync(part, lines.map((line) => `${line}\n`).join(''), { mode: 0o600, flag: 'wx' });
  renameSync(part, path);
}

/** Writes the file anew with some of its runs, if not all are kept. */
function rewrite(path: string, keep: (runs: readonly Run[]) => readonly Run[]): void {
  const all = readRuns(readFileSync(path, 'utf8'));
  const runs = keep(all);
  if (runs.length === all.length) return;
  write(
    path,
    runs.flatMap(({ lines }) => lines.map(({ text }) => text)),
  );
}

/** The last `most` runs, without those whose QEMU did not start, but for the last few. */
function lastRuns(runs: readonly Run[], most: number): readonly Run[] {
  // A service that is restarted again and again, and does not start, must not drive out what is known of its stops.
  const failed = runs.filter(({ record }) => record?.end === 'start-failed').slice(0, -keptFailures);
  return runs.filter((run) => !failed.includes(run)).slice(-most);
}

/** The record of one run, from its start to its end. */
export class OpenRecord {
  /** @param isUnnamed the VM's name was made of its command line */
  private constructor(
    private readonly path: string,
    private readonly vm: string,
    private readonly isUnnamed: boolean,
    readonly run: string,
  ) {}

  static of(path: string, vm: string, isUnnamed: boolean): OpenRecord {
    return new OpenRecord(path, vm, isUnnamed, `${Date.now().toString(36)}-${process.pid.toString(36)}`);
  }

  /**
   * QEMU was started, or taken over: then it goes on with the record of that very QEMU, if there is one.
   * @returns the record, and the start of the run before, if the end of that one is not known
   * @throws NodeJS.ErrnoException if it cannot be written
   */
  begin(qemuPid: number): { readonly record: OpenRecord; readonly endless: RunStart | null } {
    const qemu = identify(qemuPid) ?? '';
    const runs = readFile(this.path);
    const left = qemu === '' ? undefined : runs.find(({ start, record }) => record === null && start?.qemu === qemu);
    const before = runs.at(-1);
    const isEndless = before?.record === null && before !== left && !isIdentityAlive(before.start?.trap ?? '');
    const endless = isEndless ? before.start : null;
    const trap = identify(process.pid) ?? '';
    if (left?.start) {
      const own = left.lines.map(({ text }) => text);
      const others = readFileSync(this.path, 'utf8')
        .split('\n')
        .filter((line) => line !== '' && !own.includes(line));
      write(this.path, [...others, JSON.stringify({ ...left.start, trap })]);
      return { record: new OpenRecord(this.path, this.vm, this.isUnnamed, left.start.run), endless };
    }
    append(this.path, { v: 1, run: this.run, time: new Date().toISOString(), vm: this.vm, trap, qemu });
    return { record: this, endless };
  }

  /**
   * The run has ended.
   * @throws NodeJS.ErrnoException if it cannot be written
   */
  end(how: Omit<RunRecord, 'v' | 'run'>): void {
    append(this.path, { v: 1, run: this.run, ...how });
    if (this.isUnnamed) rewrite(this.path, (runs) => lastRuns(runs, keptOfUnnamed));
    else if (statSync(this.path).size > longestBytes) rewrite(this.path, (runs) => lastRuns(runs, kept));
  }

  /**
   * It was the run of no guest (`-version`, say): nothing of it is kept.
   * @throws NodeJS.ErrnoException if it cannot be written
   */
  forget(): void {
    rewrite(this.path, (runs) => runs.filter(({ start, record }) => (start ?? record)?.run !== this.run));
  }
}

/** It may be another user's. */
function readFile(path: string): Run[] {
  return readRuns(readSmallFile(path, 2 * longestBytes) ?? '');
}

/** What is known of a run whose qemu-trap was killed: when it began, and no more. */
function unknownEnd({ run, time, vm }: RunStart): RunRecord {
  return {
    v: 1,
    run,
    time,
    started: time,
    vm,
    end: 'unknown',
    verdict: 'unknown',
    cut_off: null,
    status: null,
    signal: null,
    cause: null,
    ms: null,
    timeout_ms: null,
    message: 'qemu-trap was killed, so it is unknown when and how this run ended',
  };
}

/** A run that has not ended, and whose qemu-trap lives. */
interface ServedRun {
  readonly path: string;
  readonly start: RunStart;
}

/** Those of the state directory. */
export function servedRuns(asked: string | null, env: NodeJS.ProcessEnv): ServedRun[] {
  return historiesIn(asked, env).flatMap((path) => {
    const last = readFile(path).at(-1);
    return last?.start && last.record === null && isIdentityAlive(last.start.trap) ? [{ path, start: last.start }] : [];
  });
}

/** The living qemu-trap of the last run in a history, by pid and start time; `null`: it has ended. */
export function livingTrap(path: string): { readonly trap: string; readonly hasEnded: boolean } | null {
  const last = readFile(path).at(-1);
  const trap = last?.start?.trap ?? '';
  return last === undefined || !isIdentityAlive(trap) ? null : { trap, hasEnded: last.record !== null };
}

/**
 * How the run ended that a qemu-trap has served; `null`: it was not written.
 * @param trap its identity
 * @param since of what version 0.1.0 wrote, which says no identity: not before, in milliseconds as Date has it
 */
export function recordOf(path: string, trap: string, since: number): RunRecord | null {
  const runs = readFile(path);
  const own = runs.filter(({ start }) => start?.trap === trap).at(-1);
  if (own !== undefined) return own.record;
  const last = runs.at(-1)?.record ?? null;
  return last !== null && last.run === undefined && Date.parse(last.time) >= since ? last : null;
}

/**
 * How the runs in a history file ended, the last one last; none if there is no such file, or not for this user. A run
 * that no living qemu-trap serves, and whose end was not written, ended in a way that is not known.
 */
export function recall(path: string): RunRecord[] {
  return readFile(path).flatMap(({ start, record }) => {
    if (record !== null) return [record];
    return start === null || isIdentityAlive(start.trap) ? [] : [unknownEnd(start)];
  });
}
