import { readFileSync, readdirSync, statSync } from 'node:fs';
import { lockFileOf } from '../run-dir/directory.js';
import { longestNote } from '../run-dir/kernel-lock.js';
import { readHead } from '../system/small-file.js';

/*
 * Who holds the lock of a VM, as the kernel says it.
 */

/** True for a descriptor with a lock of flock(2) on it (proc(5), fdinfo). */
function isLocked(pid: number, fd: string): boolean {
  return /^lock:\s.*\bFLOCK\b.*\bWRITE\b/m.test(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'latin1'));
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
 * Whether a process holds the lock of a run directory: that of a file beside it, of the directory itself, or of a file
 * elsewhere that names it (a run directory that is a new one each time).
 */
export function holdsLock(pid: number, runDir: string): boolean {
  let fds: string[];
  try {
    fds = readdirSync(`/proc/${pid}/fd`);
  } catch {
    return false;
  }
  return fds.some((fd) => {
    const path = `/proc/${pid}/fd/${fd}`;
    try {
      if (!isLocked(pid, fd)) return false;
    } catch {
      return false;
    }
    if ([lockFileOf(runDir), runDir].some((file) => isSameFile(path, file))) return true;
    return (readHead(path, longestNote)?.toString('utf8') ?? '').split('\n')[1] === runDir;
  });
}
