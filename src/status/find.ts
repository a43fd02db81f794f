import { lstatSync, readdirSync, realpathSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { recall, servedRuns, vmOfQemu } from './history.js';
import { lockedRunDir, lockedVm } from './lock-holder.js';
import { ageMs, commandLine, listProcesses, readProcess } from '../system/processes.js';
import { runFiles } from '../run-dir/files.js';
import { readSmallFile } from '../system/small-file.js';
import { readStatus, type VmStatus } from './file.js';
import { isIdentityAlive, oldIdentity, pidOf } from '../system/process-identity.js';
import type { RunRecord } from './run-record.js';

/** More than a pid and a start time have. */
const longestIdentity = 100;

/** A VM that runs, with what is known of it. */
export interface FoundVm {
  /** The name of its run directory, if no better one is known. */
  readonly name: string;
  /** `null` if it was removed, though its qemu-trap lives. */
  readonly runDir: string | null;
  /** Whose it is. */
  readonly uid: number;
  /** qemu-trap's; `null` if it was killed, and the QEMU that it left waits for the next one. */
  readonly pid: number | null;
  /** `null` if it is not started yet. */
  readonly qemuPid: number | null;
  /** How long QEMU has been there, in milliseconds. */
  readonly uptimeMs: number | null;
  /** `null` if qemu-trap has not written it yet. */
  readonly status: VmStatus | null;
  readonly records: readonly RunRecord[];
}

export const ownUid = process.geteuid?.() ?? 0;

/**
 * Whose directory it is; `null` if it is none that this user is to look at (root looks at all), or one that others may
 * write to, which no run directory is.
 */
function ownerOf(path: string): number | null {
  try {
    const stats = lstatSync(path);
    const isForUs = stats.isDirectory() && (stats.mode & 0o022) === 0 && (ownUid === 0 || stats.uid === ownUid);
    return isForUs ? stats.uid : null;
  } catch {
    return null;
  }
}

function entries(directory: string): string[] {
  try {
    return readdirSync(directory).map((name) => join(directory, name));
  } catch {
    return [];
  }
}

/** Where run directories are by default: root's, and each user's. */
function defaultPlaces(env: NodeJS.ProcessEnv): string[] {
  const runtime = env['XDG_RUNTIME_DIR'];
  const isRoot = process.geteuid?.() === 0;
  const users = isRoot ? entries('/run/user') : runtime?.startsWith('/') ? [runtime] : [];
  const parents = [...(isRoot ? ['/run'] : []), ...users].map((base) => join(base, 'qemu-trap'));
  const fresh = entries(tmpdir()).filter((path) => path.startsWith(join(tmpdir(), 'qemu-trap-')));
  return [...parents.flatMap(entries), ...fresh];
}

/** Wherever else they are: each QEMU that qemu-trap has started names a file in its own. */
function placesOfQemus(): string[] {
  return listProcesses().flatMap((pid) => {
    let words: string[];
    try {
      words = commandLine(pid);
    } catch {
      return [];
    }
    const file = words[words.lastIndexOf('-readconfig') + 1] ?? '';
    return file.startsWith('/') && file.endsWith(`/${runFiles.monitorsConfig}`) ? [dirname(file)] : [];
  });
}

/** @param qemu its pid and start time */
function lookAtQemu(qemu: string): Pick<FoundVm, 'qemuPid' | 'uptimeMs'> {
  if (!isIdentityAlive(qemu)) return { qemuPid: null, uptimeMs: null };
  const process = readProcess(pidOf(qemu));
  return { qemuPid: pidOf(qemu), uptimeMs: process === null ? null : ageMs(process) };
}

function look(runDir: string, uid: number, stateDir: string | null, env: NodeJS.ProcessEnv): FoundVm | null {
  const holder = readSmallFile(join(runDir, runFiles.lock), longestIdentity) ?? '';
  const qemu =
    readSmallFile(join(runDir, runFiles.qemu), longestIdentity) ??
    oldIdentity(readSmallFile(join(runDir, runFiles.qemuPid), longestIdentity) ?? '');
  const served = isIdentityAlive(holder);
  const runs = isIdentityAlive(qemu);
  if (!served && !runs) return null;
  const status = readStatus(join(runDir, runFiles.status));
  return {
    // A qemu-trap that was killed soon after its start has not written the status yet.
    name: status?.vm ?? (runs ? vmOfQemu(qemu, stateDir, env) : null) ?? lockedVm(runDir, holder) ?? basename(runDir),
    runDir,
    uid,
    pid: served ? pidOf(holder) : null,
    ...lookAtQemu(qemu),
    status,
    // A path that another user has chosen is not opened.
    records: status?.history && uid === ownUid ? recall(status.history) : [],
  };
}

/**
 * Those whose run directory is in no place that is looked at, or was removed: the history names the qemu-trap, and the
 * file that this has locked its run directory.
 */
function lookInHistories(
  found: readonly FoundVm[],
  asked: string | null,
  stateDir: string | null,
  env: NodeJS.ProcessEnv,
): FoundVm[] {
  return servedRuns(stateDir, env).flatMap(({ path, start: { vm, trap, qemu } }) => {
    const pid = pidOf(trap);
    const runDir = found.some((each) => each.pid === pid) ? null : lockedRunDir(trap);
    if (runDir === null || (asked !== null && runDir !== resolve(asked))) return [];
    const uid = ownerOf(runDir);
    const seen = uid === null ? null : look(runDir, uid, stateDir, env);
    if (seen !== null) return [seen];
    return [{ name: vm, runDir: null, uid: ownUid, pid, ...lookAtQemu(qemu), status: null, records: recall(path) }];
  });
}

/**
 * The VMs under qemu-trap on this host, by their run directories; of a normal user, their own.
 * @param asked by `--run-dir`: that one only
 * @param stateDir by `--state-dir`
 */
export function findVms(asked: string | null, stateDir: string | null, env: NodeJS.ProcessEnv): FoundVm[] {
  const places = asked !== null ? [resolve(asked)] : [...defaultPlaces(env), ...placesOfQemus()];
  const real = new Map<string, number>();
  for (const place of places) {
    const uid = ownerOf(place);
    try {
      if (uid !== null) real.set(realpathSync(place), uid);
    } catch {
      // It was removed just now.
    }
  }
  const found = [...real].flatMap(([place, uid]) => look(place, uid, stateDir, env) ?? []);
  return [...found, ...lookInHistories(found, asked, stateDir, env)];
}
