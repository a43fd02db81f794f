import { chmodSync, lstatSync, mkdirSync, mkdtempSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { createParents } from '../system/make-directories.js';
import { type Fault, findWayFault, openToOthers } from '../system/permissions.js';
import { longestSocketPath } from '../system/socket-path.js';
import { stateDirectory } from '../system/state-directory.js';
import { UsageError, refusedBySystem } from '../system/usage-error.js';
import { isLeftFile, runFiles } from './files.js';
import { asFileName } from './name.js';

/** Where the run directory is to be. */
export interface Place {
  /** `null`: a new one each time, in the system's directory for temporary files. */
  readonly path: string | null;
  /** Files to lock, the first that can be had. */
  readonly lockFiles: readonly string[];
}

/** The file that is locked beside a run directory. */
export function lockFileOf(runDir: string): string {
  return `${runDir}.lock`;
}

const temporaryPrefix = 'qemu-trap-';

export function choose(asked: string | null, vm: string, stateDir: string | null, env: NodeJS.ProcessEnv): Place {
  const runtime = env['XDG_RUNTIME_DIR'];
  const base = process.geteuid?.() === 0 ? '/run' : runtime?.startsWith('/') ? runtime : null;
  const path = asked !== null ? resolve(asked) : base === null ? null : join(base, 'qemu-trap', asFileName(vm));
  if (path !== null) return { path, lockFiles: [lockFileOf(path)] };
  // Of systemd.exec(5): a list with colons.
  const ofUnit = env['RUNTIME_DIRECTORY']?.split(':').find((directory) => directory.startsWith('/'));
  const directories = [ofUnit, stateDirectory(stateDir, env)].filter((directory) => typeof directory === 'string');
  return { path: null, lockFiles: directories.map((directory) => lockFileOf(join(directory, asFileName(vm)))) };
}

export function check(path: string, names: readonly string[]): void {
  for (const name of names) {
    const length = Buffer.byteLength(join(path, name));
    if (length > longestSocketPath) {
      throw new UsageError(
        `run directory ${path}: the paths of its sockets would have ${length} bytes, and a unix socket takes ${longestSocketPath}: name a shorter one with --run-dir`,
      );
    }
  }
  if (/["\n\r]/.test(path)) {
    throw new UsageError(
      `run directory ${path}: QEMU cannot take a path with a double quote or a newline: name another with --run-dir`,
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
export function makeTemporary(lastNote: string, made: (directory: string) => void): string {
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
    throw new UsageError(`run directory ${path}: ${fault.what} (fix: ${fault.fix}, or name another with --run-dir)`);
}

function refusedToCreate(path: string, error: unknown): UsageError {
  return refusedBySystem(`run directory ${path}: cannot be created`, error, 'name another with --run-dir');
}

/**
 * Creates what leads to the directory.
 * @param made is told of each directory that was created
 */
export function makeWay(path: string, made: (directory: string) => void): void {
  refuse(path, findWayFault(dirname(path)));
  try {
    createParents(path, 0o755, made);
  } catch (error) {
    throw refusedToCreate(path, error);
  }
}

/**
 * A directory with files of others must not be closed to them.
 * @throws {UsageError} for one that is open to other users, and holds files, none of which is a qemu-trap's
 */
export function refuseShared(path: string): void {
  let names: string[];
  try {
    if ((lstatSync(path).mode & 0o777) === 0o700) return;
    names = readdirSync(path);
  } catch {
    // There is none, or its owner cannot even read it.
    return;
  }
  const isOurs = names.some((name) => isLeftFile(name) || name === runFiles.lock);
  if (names.length > 0 && !isOurs)
    throw new UsageError(
      `run directory ${path}: it holds other files, and qemu-trap would close it to other users: name a new directory with --run-dir`,
    );
}

/**
 * Creates the directory, or takes an existing one that no other user can reach, nor put another in its place.
 * @param made is told of each directory that was created
 * @throws NodeJS.ErrnoException with ENOENT if the way to it has gone meanwhile
 */
export function open(path: string, made: (directory: string) => void): void {
  try {
    mkdirSync(path, { mode: 0o700 });
    made(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') throw error;
    if (code !== 'EEXIST') throw refusedToCreate(path, error);
  }
  const stats = lstatSync(path);
  if (!stats.isDirectory())
    throw new UsageError(`run directory ${path}: it is not a directory: name another with --run-dir`);
  if (stats.uid !== process.geteuid?.()) {
    throw new UsageError(`run directory ${path}: it belongs to user ${stats.uid}: name one of your own with --run-dir`);
  }
  refuse(path, openToOthers(path, stats, 'it'));
  // Once more, because another user may have made what is on the way.
  refuse(path, findWayFault(dirname(path)));
  // Whatever the umask has left of it.
  if ((stats.mode & 0o777) !== 0o700) chmodSync(path, 0o700);
}
