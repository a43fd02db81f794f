import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { asFileName } from '../run-dir/name.js';
import { isIdentityAlive, pidOf } from '../system/process-identity.js';
import { quietly } from '../system/quietly.js';
import { stateDirectory } from '../system/state-directory.js';
import { isRunOf, readFile } from './history-file.js';
import type { RunRecord, RunStart } from './run-record.js';

/*
 * What the histories of VMs say.
 */

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
 * @param since of a run without a first line, because its QEMU was not started or version 0.1.0 wrote it: not before, in
 *   milliseconds as Date has it
 */
export function recordOf(path: string, trap: string, since: number): RunRecord | null {
  const runs = readFile(path);
  const own = runs.filter(({ start }) => start?.trap === trap).at(-1);
  if (own !== undefined) return own.record;
  const last = runs.at(-1)?.record ?? null;
  const isIts = last?.run === undefined || isRunOf(last.run, pidOf(trap));
  return last !== null && isIts && Date.parse(last.time) >= since ? last : null;
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
