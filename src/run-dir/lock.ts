import { lstatSync, rmdirSync, unlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createParents } from '../system/make-directories.js';
import { findWayFault } from '../system/permissions.js';
import { identify, isIdentityAlive, pidOf, readIdentity } from '../system/process-identity.js';
import { quietly } from '../system/quietly.js';
import { UsageError } from '../system/usage-error.js';
import { type Place, check, makeTemporary, makeWay, open, refuseShared } from './directory.js';
import { runFiles } from './files.js';
import { type KernelLock, takeKernelLock } from './kernel-lock.js';
import { takeLinkedLock } from './linked-lock.js';

/** Another qemu-trap has the lock. */
export class ServedAlready extends UsageError {}

/** @param holder pid and start time, as far as it is known */
function servedBy(what: string, holder: string): ServedAlready {
  const who = isIdentityAlive(holder) ? ` (pid ${pidOf(holder)})` : '';
  return new ServedAlready(
    `${what}: another qemu-trap${who} is serving it already: stop that one first; another VM needs a --name or --run-dir of its own`,
  );
}

/** The identity of a holder, in what it wrote into the file that it locked. */
function holderIn(note: string): string {
  return note.split('\n')[0] ?? '';
}

/**
 * Locks the first of `files` that can be locked.
 * @param what is said to be served, if another qemu-trap has the lock
 */
function lockOne(
  what: string,
  files: readonly string[],
  kind: 'file' | 'directory',
): { readonly lock: KernelLock } | { readonly why: string } {
  let why = '';
  for (const file of files) {
    const attempt = takeKernelLock(file, kind);
    if (attempt.kind === 'busy')
      throw servedBy(what, kind === 'file' ? holderIn(attempt.note) : readIdentity(join(file, runFiles.lock)));
    if (attempt.kind === 'held') return attempt;
    why = attempt.why;
  }
  return { why };
}

/** Makes the directories of lock files that are to be had without a run directory beside them. */
function makeLockDirectories(files: readonly string[]): void {
  for (const file of files) quietly(() => createParents(file, 0o700));
}

function isDirectory(path: string): boolean {
  try {
    return lstatSync(path).isDirectory();
  } catch {
    return false;
  }
}

export interface Opened {
  readonly path: string;
  /** `null` if the lock is the file alone. */
  readonly lock: KernelLock | null;
  readonly weakLock: string | null;
  readonly predecessor: number | null;
  /** What was created on the way. */
  readonly made: readonly string[];
}

function openAndLockOnce(place: Place, vm: string, names: readonly string[], made: string[]): Opened {
  const note = (directory: string): void => void made.push(directory);
  if (place.path === null) makeLockDirectories(place.lockFiles);
  else {
    makeWay(place.path, note);
    refuseShared(place.path);
  }
  const trusted =
    place.path === null
      ? place.lockFiles.filter((file) => isDirectory(dirname(file)) && findWayFault(dirname(file)) === null)
      : place.lockFiles;
  const beside = lockOne(place.path === null ? `VM ${vm}` : `run directory ${place.path}`, trusted, 'file');
  let lock = 'lock' in beside ? beside.lock : null;
  try {
    const path = place.path ?? makeTemporary(lock?.lastNote ?? '', note);
    check(path, names);
    open(path, note);
    let weakLock: string | null = null;
    if (lock === null) {
      // Only its owner can be there, and if the file beside cannot be written it does as well.
      const own = lockOne(`run directory ${path}`, [path], 'directory');
      if ('lock' in own) lock = own.lock;
      else weakLock = own.why;
    }
    return { path, lock, weakLock, predecessor: pidOf(takeOverLock(path, vm, lock)) || null, made };
  } catch (error) {
    lock?.release();
    throw error;
  }
}

/**
 * Writes who holds the lock, for `--status`, and for a start that finds us killed.
 * @returns the identity of a holder who was killed, or `''`
 * @throws {UsageError} if the holder lives: version 0.1.0 has no other lock, nor has a system without flock(1)
 */
function takeOverLock(path: string, vm: string, lock: KernelLock | null): string {
  const servedByOther = (holder: string): UsageError => servedBy(`run directory ${path}`, holder);
  if (lock === null) return takeLinkedLock(path, servedByOther);
  const file = join(path, runFiles.lock);
  const left = readIdentity(file);
  // One that wrote to the locked file as well is dead, whatever its pid says here.
  if (left !== holderIn(lock.lastNote) && isIdentityAlive(left)) throw servedByOther(left);
  const mine = identify(process.pid) ?? '';
  lock.note(`${mine}\n${path}\n${vm.replaceAll('\n', '_')}\n`);
  try {
    writeFileSync(file, mine, { mode: 0o600 });
  } catch (error) {
    // Empty, or half of it: the directory is to go.
    if (left === '') quietly(() => unlinkSync(file));
    throw error;
  }
  return left;
}

const raceTries = 20;

/** If another qemu-trap ends just now the directory may go: then all is done again. */
export function openAndLock(place: Place, vm: string, names: readonly string[]): Opened {
  for (let tries = 1; ; tries++) {
    const made: string[] = [];
    try {
      return openAndLockOnce(place, vm, names, made);
    } catch (error) {
      removeMade(made);
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || tries === raceTries) throw error;
    }
  }
}

/** Removes directories that were made here, the last one first, unless something was put into them. */
export function removeMade(made: readonly string[]): void {
  for (const directory of [...made].reverse()) quietly(() => rmdirSync(directory));
}
