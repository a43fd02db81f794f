import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmdirSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { createParents } from '../system/make-directories.js';
import { type Fault, findWayFault, openToOthers } from '../system/permissions.js';
import { identify, isIdentityAlive, pidOf, readIdentity } from '../system/process-identity.js';
import { quietly } from '../system/quietly.js';
import { longestSocketPath } from '../system/socket-path.js';
import { stateDirectory } from '../system/state-directory.js';
import { UsageError, refusedBySystem } from '../system/usage-error.js';
import { isLockingFile, isRunFile, runFiles } from './files.js';
import { type KernelLock, takeKernelLock } from './kernel-lock.js';
import { takeLinkedLock } from './linked-lock.js';
import { asFileName } from './name.js';

/** The VM's own directory for sockets and state; only one qemu-trap serves it at a time. */
export interface RunDir {
  readonly path: string;
  /** The path of a file in it, which {@link RunDir.clear} and {@link RunDir.close} will remove. */
  file(name: string): string;
  /** The next start of this VM looks for it in the same place. */
  readonly isLasting: boolean;
  /** Why its lock is not the kernel's, and does not hold across pid namespaces; `null` where it is. */
  readonly weakLock: string | null;
  /** The pid of a qemu-trap that served it, and was killed; `null` where the last one ended as it should. */
  readonly predecessor: number | null;
  /** Nothing is in it that a qemu-trap may have left. */
  readonly isFresh: boolean;
  /** Removes what any qemu-trap has put there, but for the lock, and the file `but`. Never throws. */
  clear(but?: string): void;
  /** Whether {@link RunDir.close} leaves all but the lock there, because a QEMU that runs on needs it. */
  leaves: boolean;
  /** Gives up the lock, and removes what was put there, and the directory if nothing else is in it. Never throws. */
  close(): void;
}

/** Where the run directory is to be. */
interface Place {
  /** `null`: a new one each time, in the system's directory for temporary files. */
  readonly path: string | null;
  /** Files to lock, the first that can be had. */
  readonly lockFiles: readonly string[];
}

const lockSuffix = '.lock';
const temporaryPrefix = 'qemu-trap-';

function choose(asked: string | null, vm: string, stateDir: string | null, env: NodeJS.ProcessEnv): Place {
  const runtime = env['XDG_RUNTIME_DIR'];
  const base = process.geteuid?.() === 0 ? '/run' : runtime?.startsWith('/') ? runtime : null;
  const path = asked !== null ? resolve(asked) : base === null ? null : join(base, 'qemu-trap', asFileName(vm));
  if (path !== null) return { path, lockFiles: [`${path}${lockSuffix}`] };
  // Of systemd.exec(5): a list with colons.
  const ofUnit = env['RUNTIME_DIRECTORY']?.split(':').find((directory) => directory.startsWith('/'));
  const directories = [ofUnit, stateDirectory(stateDir, env)].filter((directory) => typeof directory === 'string');
  return { path: null, lockFiles: directories.map((directory) => join(directory, `${asFileName(vm)}${lockSuffix}`)) };
}

function check(path: string, names: readonly string[]): void {
  for (const name of names) {
    const length = Buffer.byteLength(join(path, name));
    if (length > longestSocketPath) {
      throw new UsageError(
        `run directory ${path}: its sockets' paths would have ${length} bytes, and a unix socket holds ${longestSocketPath}: name a shorter one with --run-dir`,
      );
    }
  }
  if (/["\n\r]/.test(path)) {
    throw new UsageError(
      `run directory ${path}: QEMU cannot read a path with a double quote or a line feed: name another with --run-dir`,
    );
  }
}

/** The user's own and closed to others, like what a run directory is to be. */
function isOwnTemporary(path: string): boolean {
  try {
    const stats = lstatSync(path);
    return (
      dirname(path) === tmpdir() &&
      basename(path).startsWith(temporaryPrefix) &&
      stats.isDirectory() &&
      stats.uid === process.geteuid?.()
    );
  } catch {
    return false;
  }
}

/** A new one; or that of a qemu-trap which was killed, for what it left. */
function makeTemporary(lastNote: string, made: (directory: string) => void): string {
  const left = lastNote.split('\n')[1] ?? '';
  if (isOwnTemporary(left)) return left;
  try {
    const path = mkdtempSync(join(tmpdir(), temporaryPrefix));
    made(path);
    return path;
  } catch (error) {
    throw refusedBySystem(`run directory: none can be created in ${tmpdir()}`, error, 'name one with --run-dir');
  }
}

function refuse(path: string, fault: Fault | null): void {
  if (fault !== null)
    throw new UsageError(
      `run directory ${path}: ${fault.what} (mend it: ${fault.mend}, or name another with --run-dir)`,
    );
}

function refusedToCreate(path: string, error: unknown): UsageError {
  return refusedBySystem(`run directory ${path}: cannot be created`, error, 'name another with --run-dir');
}

/**
 * Creates what leads to the directory.
 * @param made is told of each directory that was created
 */
function makeWay(path: string, made: (directory: string) => void): void {
  refuse(path, findWayFault(dirname(path)));
  try {
    createParents(path, 0o755, made);
  } catch (error) {
    throw refusedToCreate(path, error);
  }
}

/**
 * Creates the directory, or takes an existing one that nobody else can reach, nor put another in its place.
 * @param made is told of each directory that was created
 * @throws NodeJS.ErrnoException with ENOENT where the way to it has gone meanwhile
 */
function open(path: string, made: (directory: string) => void): void {
  try {
    mkdirSync(path, { mode: 0o700 });
    made(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') throw error;
    if (code !== 'EEXIST') throw refusedToCreate(path, error);
  }
  const stats = lstatSync(path);
  if (!stats.isDirectory()) throw new UsageError(`run directory ${path}: is no directory: name another with --run-dir`);
  if (stats.uid !== process.geteuid?.()) {
    throw new UsageError(`run directory ${path}: belongs to user ${stats.uid}: name one of your own with --run-dir`);
  }
  refuse(path, openToOthers(path, stats, 'it'));
  // Once more, for what was made on the way may have been made by somebody else.
  refuse(path, findWayFault(dirname(path)));
  // Whatever the umask has left of it.
  if ((stats.mode & 0o777) !== 0o700) chmodSync(path, 0o700);
}

/** @param holder pid and start time, as far as it is known */
function servedBy(what: string, holder: string): UsageError {
  const who = isIdentityAlive(holder) ? ` (pid ${pidOf(holder)})` : '';
  return new UsageError(
    `${what}: served by another qemu-trap already${who}: stop that one, or name another directory with --run-dir or --name`,
  );
}

/** The identity of a holder, in what it wrote into the file that it locked. */
function holderIn(note: string): string {
  return note.split('\n')[0] ?? '';
}

/**
 * Locks the first of `files` that can be locked.
 * @param what is said to be served, where somebody has the lock
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

interface Opened {
  readonly path: string;
  /** `null` where the lock is the file alone. */
  readonly lock: KernelLock | null;
  readonly weakLock: string | null;
  readonly predecessor: number | null;
  /** What was created on the way. */
  readonly made: readonly string[];
}

function openAndLockOnce(place: Place, vm: string, names: readonly string[], made: string[]): Opened {
  const note = (directory: string): void => void made.push(directory);
  if (place.path === null) makeLockDirectories(place.lockFiles);
  else makeWay(place.path, note);
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
      // Nobody but its owner can be there, and where the file beside cannot be written it does as well.
      const own = lockOne(`run directory ${path}`, [path], 'directory');
      if ('lock' in own) lock = own.lock;
      else weakLock = own.why;
    }
    return { path, lock, weakLock, predecessor: pidOf(takeOverLock(path, lock)) || null, made };
  } catch (error) {
    lock?.release();
    throw error;
  }
}

/**
 * Writes who holds the lock, for `--status`, and for a start that finds us killed.
 * @returns the identity of a holder who was killed, or `''`
 * @throws {UsageError} where the holder lives: version 0.1.0 has no other lock, nor has a system without flock(1)
 */
function takeOverLock(path: string, lock: KernelLock | null): string {
  const servedByOther = (holder: string): UsageError => servedBy(`run directory ${path}`, holder);
  if (lock === null) return takeLinkedLock(path, servedByOther);
  const file = join(path, runFiles.lock);
  const left = readIdentity(file);
  // One that wrote to the locked file as well is dead, whatever its pid says here.
  if (left !== holderIn(lock.lastNote) && isIdentityAlive(left)) throw servedByOther(left);
  const mine = identify(process.pid) ?? '';
  lock.note(`${mine}\n${path}\n`);
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

/** Where another qemu-trap ends just now the directory may go: then all is done again. */
function openAndLock(place: Place, vm: string, names: readonly string[]): Opened {
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

/** Removes directories that were made here, the last one first, unless somebody has put something into them. */
function removeMade(made: readonly string[]): void {
  for (const directory of [...made].reverse()) quietly(() => rmdirSync(directory));
}

/** False where it cannot be listed, too, for want of a descriptor. */
function hasNothingLeft(path: string): boolean {
  try {
    return !readdirSync(path).some((name) => isRunFile(name) || isLockingFile(name));
  } catch {
    return false;
  }
}

/** What is asked of a run directory. */
export interface RunDirCall {
  /** By `--run-dir`. */
  readonly asked: string | null;
  readonly vm: string;
  /** By `--state-dir`. */
  readonly stateDir: string | null;
  readonly env: NodeJS.ProcessEnv;
  /** Every socket that will lie in it, so that a path too long is found now and not by QEMU. */
  readonly socketNames: readonly string[];
}

/**
 * Makes the run directory ready and takes its lock.
 * @throws {UsageError} where it cannot serve, or another qemu-trap serves it
 */
export function openRunDir({ asked, vm, stateDir, env, socketNames }: RunDirCall): RunDir {
  const place = choose(asked, vm, stateDir, env);
  let opened: Opened;
  try {
    if (place.path !== null) check(place.path, socketNames);
    opened = openAndLock(place, vm, socketNames);
  } catch (error) {
    throw error instanceof UsageError
      ? error
      : refusedBySystem(
          `run directory${place.path === null ? '' : ` ${place.path}`}: cannot be used`,
          error,
          'name another with --run-dir',
        );
  }
  const { path, lock, weakLock, predecessor, made } = opened;
  const mine = identify(process.pid);
  // By their names, for a directory cannot be listed where no descriptor is left.
  const names = new Set<string>([
    runFiles.monitorsConfig,
    runFiles.qemu,
    runFiles.qemuPid,
    runFiles.frozen,
    ...socketNames,
  ]);
  const drop = (name: string): void => quietly(() => unlinkSync(join(path, name)));
  const clear = (but?: string): void => {
    const dropThese = (some: Iterable<string>): void => [...some].filter((name) => name !== but).forEach(drop);
    dropThese(names);
    quietly(() => dropThese(readdirSync(path).filter(isRunFile)));
    quietly(() =>
      dropThese(
        readdirSync(path).filter((name) => isLockingFile(name) && !isIdentityAlive(readIdentity(join(path, name)))),
      ),
    );
  };
  const isOurs = (): boolean => {
    try {
      return lock !== null || mine === null || readIdentity(join(path, runFiles.lock)) === mine;
    } catch {
      // It cannot be read; nobody else takes the lock of one that lives.
      return true;
    }
  };
  return {
    path,
    isLasting: place.path !== null,
    weakLock,
    predecessor,
    isFresh: predecessor === null && hasNothingLeft(path),
    file: (name) => {
      names.add(name);
      return join(path, name);
    },
    clear,
    leaves: false,
    close() {
      if (!this.leaves) clear();
      if (isOurs()) drop(runFiles.lock);
      if (!this.leaves) {
        quietly(() => rmdirSync(path));
        removeMade(made);
      }
      // Last of all: whoever waits for it finds nothing that is half removed.
      lock?.release();
    },
  };
}
