import { readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { lockFileOf } from '../run-dir/directory.js';
import { runFiles } from '../run-dir/files.js';
import { longestNote } from '../run-dir/kernel-lock.js';
import { isIdentityAlive, pidOf, readIdentity } from '../system/process-identity.js';
import { isDescendant } from '../system/processes.js';
import { readHead } from '../system/small-file.js';

/*
 * Who holds the lock of a VM.
 */

/** True for a descriptor with a lock of flock(2) on it (proc(5), fdinfo). */
function isLocked(pid: number, fd: string): boolean {
  return /^lock:\s.*\bFLOCK\b.*\bWRITE\b/m.test(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'latin1'));
}

/** What a process has written into a file that it holds the lock of; `''`: not that. */
function lockNote(pid: number, fd: string): string {
  try {
    const path = `/proc/${pid}/fd/${fd}`;
    return isLocked(pid, fd) ? (readHead(path, longestNote)?.toString('utf8') ?? '') : '';
  } catch {
    return '';
  }
}

function descriptorsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`);
  } catch {
    return [];
  }
}

/**
 * The run directory that a qemu-trap serves, by the file that it has locked, whether it is still there or not.
 * @param trap its pid and start time
 * @returns `null` if none is to be seen
 */
export function lockedRunDir(trap: string): string | null {
  const pid = pidOf(trap);
  for (const fd of descriptorsOf(pid)) {
    const [holder, runDir] = lockNote(pid, fd).split('\n');
    if (holder === trap && runDir?.startsWith('/')) return runDir;
  }
  return null;
}

/** The name of the VM that `holder` serves in a run directory, by the file beside that; `null`: it is not there. */
export function lockedVm(runDir: string, holder: string): string | null {
  const [noted, , vm] = (readHead(lockFileOf(runDir), longestNote)?.toString('utf8') ?? '').split('\n');
  return noted === holder && vm ? vm : null;
}

function isSameFile(one: string, other: string): boolean {
  try {
    const [a, b] = [statSync(one), statSync(other)];
    return a.dev === b.dev && a.ino === b.ino;
  } catch {
    return false;
  }
}

/**
 * The lock of version 0.1.0, and of a system without flock(1): the file names its holder, by pid and start time. Anything
 * can be written there, so the holder has to be above the QEMU of that run directory, too.
 */
function holdsLinkedLock(pid: number, runDir: string, qemuPid: number): boolean {
  const holder = readIdentity(join(runDir, runFiles.lock));
  return pidOf(holder) === pid && isIdentityAlive(holder) && isDescendant(qemuPid, pid);
}

/** @param qemuPid the QEMU of the run directory, if it is started */
export function holdsLock(pid: number, runDir: string, qemuPid: number | null): boolean {
  return holdsKernelLock(pid, runDir) || (qemuPid !== null && holdsLinkedLock(pid, runDir, qemuPid));
}

/**
 * Whether a process holds the lock of a run directory: that of a file beside it, of the directory itself, or of a file
 * elsewhere that names it (a run directory that is a new one each time).
 */
function holdsKernelLock(pid: number, runDir: string): boolean {
  return descriptorsOf(pid).some((fd) => {
    const path = `/proc/${pid}/fd/${fd}`;
    try {
      if (!isLocked(pid, fd)) return false;
    } catch {
      return false;
    }
    if ([lockFileOf(runDir), runDir].some((file) => isSameFile(path, file))) return true;
    return lockNote(pid, fd).split('\n')[1] === runDir;
  });
}
