import { closeSync, constants, fstatSync, ftruncateSync, lstatSync, openSync, readSync, writeSync } from 'node:fs';
import { spawnSync } from '../system/spawn.js';
import { helperEnvironment } from '../system/own-environment.js';

/*
 * A lock that the kernel holds for as long as this process lives (flock(2)), whatever pid or mount namespace another
 * one asks from.
 */

/** A lock on an open file of ours, which no child inherits. */
export interface KernelLock {
  /** What the last holder wrote, who is dead; `''` on a directory, or of a file that is new. */
  readonly lastNote: string;
  /** Writes to the locked file who holds it: /proc/locks names the flock(1) that has ended. */
  note(text: string): void;
  /** Gives it up. Never throws. */
  release(): void;
}

type LockAttempt =
  | { readonly kind: 'held'; readonly lock: KernelLock }
  | { readonly kind: 'busy'; readonly note: string }
  /** No lock can be taken there. */
  | { readonly kind: 'impossible'; readonly why: string };

const longestWaitMs = 5_000;
const mostTries = 100;
/** Of open(2): another user's file, a link, a directory, a file system that cannot be written. */
const notForUs = ['EACCES', 'EPERM', 'EROFS', 'ELOOP', 'EISDIR', 'ENXIO', 'ENOTDIR'];

/** flock(1) locks the open file that it inherits, and the lock stays when it has exited (flock(2)). */
function flock(fd: number): 'held' | 'busy' | 'no-flock' {
  const { status, error } = spawnSync('flock', ['-n', '3'], {
    stdio: ['ignore', 'ignore', 'ignore', fd],
    env: helperEnvironment(process.env),
    timeout: longestWaitMs,
    detached: true,
  });
  // cross-spawn has null there for none.
  if (error) {
    if (['ENOENT', 'EACCES', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return 'no-flock';
    throw error;
  }
  // 1 if another process has it, of util-linux and of BusyBox alike; util-linux has others for what cannot be locked.
  return status === 0 ? 'held' : status === 1 ? 'busy' : 'no-flock';
}

function openToLock(path: string, kind: 'file' | 'directory'): number {
  const { O_RDWR, O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_DIRECTORY } = constants;
  return kind === 'directory'
    ? openSync(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
    : openSync(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
}

/** Whether the file at `path` still is the one that was opened: a qemu-trap that ends may remove a directory that waits to be locked. */
function isStillThere(path: string, fd: number): boolean {
  try {
    const [opened, now] = [fstatSync(fd), lstatSync(path)];
    return opened.dev === now.dev && opened.ino === now.ino;
  } catch {
    return false;
  }
}

/**
 * Takes the lock of a file, which is created, or of a directory that is there.
 * @throws NodeJS.ErrnoException if the system lacks what it needs (descriptors, space, processes), or, with ENOENT,
 *   where the path has gone
 */
export function takeKernelLock(path: string, kind: 'file' | 'directory'): LockAttempt {
  for (let tries = 0; tries < mostTries; tries++) {
    let fd: number;
    try {
      fd = openToLock(path, kind);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (notForUs.includes(code ?? '')) return { kind: 'impossible', why: `${path}: ${code}` };
      throw error;
    }
    let isKept = false;
    try {
      const stats = fstatSync(fd);
      // Another name of a file, which is to be written to, may be anybody's doing (link(2)).
      const isOurs =
        stats.uid === process.geteuid?.() && (kind === 'directory' || (stats.isFile() && stats.nlink === 1));
      if (!isOurs) return { kind: 'impossible', why: `${path}: not a file of qemu-trap's user alone` };
      const got = flock(fd);
      if (got === 'no-flock') return { kind: 'impossible', why: 'flock(1) of util-linux is not installed' };
      const note = kind === 'file' ? readNote(fd) : '';
      if (got === 'busy') return { kind: 'busy', note };
      if (!isStillThere(path, fd)) continue;
      isKept = true;
      return { kind: 'held', lock: lockOn(fd, kind, note) };
    } finally {
      if (!isKept) closeSync(fd);
    }
  }
  return { kind: 'impossible', why: `${path}: it keeps being replaced` };
}

/** More than a pid, a start time and a path have. */
export const longestNote = 8 * 1024;

/** What stands in the file; the next write is still its first. */
function readNote(fd: number): string {
  const bytes = Buffer.alloc(longestNote);
  return bytes.toString('utf8', 0, readSync(fd, bytes, 0, longestNote, 0));
}

function lockOn(fd: number, kind: 'file' | 'directory', lastNote: string): KernelLock {
  return {
    lastNote,
    note: (text) => {
      if (kind === 'directory') return;
      ftruncateSync(fd);
      writeSync(fd, text);
    },
    release: () => {
      try {
        closeSync(fd);
      } catch {
        // It was given up before.
      }
    },
  };
}
