import { readFileSync, statSync } from 'node:fs';
import { identify, isIdentityAlive } from '../system/process-identity.js';
import {
  append,
  kept,
  keptOfUnnamed,
  lastRuns,
  longestBytes,
  newRun,
  readFile,
  rewrite,
  write,
} from './history-file.js';
import type { RunRecord, RunStart } from './run-record.js';

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
    return new OpenRecord(path, vm, isUnnamed, newRun());
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
