import { chmodSync, linkSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmdirSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { shortDigest } from '../digest.js';
import { findWayFault, openToOthers, type Fault } from '../ownership.js';
import { identify, isIdentityAlive, pidOf, readIdentity } from '../proc.js';
import { longestSocketPath } from '../socket-path.js';
import { refusedBySystem, UsageError } from '../usage-error.js';
import { isLockingFile, isRunFile, runFiles } from './files.js';

const longestDefaultName = 60;

/** The VM's own directory for sockets and state; only one qemu-trap serves it at a time. */
export interface RunDir {
  readonly path: string;
  /** The path of a file in it, which {@link RunDir.clear} and {@link RunDir.remove} will remove. */
  file(name: string): string;
  /** The next start of this VM looks for it in the same place. */
  readonly isLasting: boolean;
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

interface Place {
  readonly path: string;
  /** The folder of all VMs, which goes with the last one. */
  readonly parent: string | null;
  readonly made: boolean;
}

/** A VM's name as a file's: short enough for a socket's path, and never a path of its own. */
export function asFileName(vm: string): string {
  const plain = vm.replaceAll(/[^A-Za-z0-9._-]/g, '_').replace(/^\./, '_');
  if (plain === vm && vm.length <= longestDefaultName) return vm;
  return `${plain.slice(0, longestDefaultName - 9)}-${shortDigest(vm)}`;
}

function makeTemporary(): string {
  try {
    return mkdtempSync(join(tmpdir(), 'qemu-trap-'));
  } catch (error) {
    throw refusedBySystem(`run directory: none can be created in ${tmpdir()}`, error, 'name one with --run-dir');
  }
}

function choose(asked: string | null, vm: string, env: NodeJS.ProcessEnv): Place {
  if (asked !== null) return { path: resolve(asked), parent: null, made: false };
  const runtime = env['XDG_RUNTIME_DIR'];
  const base = process.geteuid?.() === 0 ? '/run' : runtime?.startsWith('/') ? runtime : null;
  if (base === null) return { path: makeTemporary(), parent: null, made: true };
  const parent = join(base, 'qemu-trap');
  return { path: join(parent, asFileName(vm)), parent, made: false };
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
    throw new UsageError(`run directory ${path}: QEMU cannot read a path with a double quote or a line feed: name another with --run-dir`);
  }
}

/**
 * Creates the directory, or takes an existing one that nobody else can reach, nor put another in its place.
 * @param made is told of each directory that was created
 */
function open(path: string, made: (directory: string) => void): void {
  const refuse = (fault: Fault | null): void => {
    if (fault !== null) throw new UsageError(`run directory ${path}: ${fault.what} (mend it: ${fault.mend}, or name another with --run-dir)`);
  };
  refuse(findWayFault(dirname(path)));
  try {
    createParents(path, made);
    try {
      mkdirSync(path, { mode: 0o700 });
      made(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
        // Its parent went with the last VM that used it, just now.
        createParents(path, made);
        mkdirSync(path, { mode: 0o700 });
        made(path);
      } else if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  } catch (error) {
    throw refusedBySystem(`run directory ${path}: cannot be created`, error, 'name another with --run-dir');
  }
  const stats = lstatSync(path);
  if (!stats.isDirectory()) throw new UsageError(`run directory ${path}: is no directory: name another with --run-dir`);
  if (stats.uid !== process.geteuid?.()) {
    throw new UsageError(`run directory ${path}: belongs to user ${stats.uid}: name one of your own with --run-dir`);
  }
  refuse(openToOthers(path, stats, 'it'));
  // Once more, for what was made on the way may have been made by somebody else.
  refuse(findWayFault(dirname(path)));
  // Whatever the umask has left of it.
  if ((stats.mode & 0o777) !== 0o700) chmodSync(path, 0o700);
}

/** One by one, for Node's own way (`recursive`) does not say what it had made when it fails. */
function createParents(path: string, made: (directory: string) => void): void {
  const parent = dirname(path);
  const create = (): void => {
    mkdirSync(parent, { mode: 0o755 });
    made(parent);
  };
  try {
    create();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return;
    if (code !== 'ENOENT') throw error;
    createParents(parent, made);
    create();
  }
}

const lockTries = 100;
const lockEveryMs = 10;

/**
 * Takes the lock of the directory. A dead holder's is replaced, by one of those who want it: the one who could make
 * the claim to it, a file named for the dead.
 * @returns the pid of the dead, or `null`
 */
function lock(directory: string): number | null {
  const path = join(directory, runFiles.lock);
  const mine = `${path}.${process.pid}`;
  try {
    writeFileSync(mine, identify(process.pid) ?? '', { mode: 0o600 });
    for (let attempt = 0; attempt < lockTries; attempt++) {
      if (linked(mine, path)) return null;
      const holder = readIdentity(path);
      if (isIdentityAlive(holder)) {
        throw new UsageError(`run directory ${directory}: served by another qemu-trap already (pid ${pidOf(holder)}): stop that one, or name another directory with --run-dir or --name`);
      }
      const claim = `${path}.after.${shortDigest(holder)}`;
      if (linked(mine, claim)) {
        try {
          // Asked again: who had the claim before may have replaced it, and given the claim up.
          if (readIdentity(path) === holder) {
            renameSync(mine, path);
            return pidOf(holder) || null;
          }
        } finally {
          quietly(() => unlinkSync(claim));
        }
      } else if (!isIdentityAlive(readIdentity(claim))) quietly(() => unlinkSync(claim));
      else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, lockEveryMs);
    }
    throw new UsageError(`run directory ${directory}: its lock changes hands: try again`);
  } finally {
    quietly(() => unlinkSync(mine));
  }
}

const raceTries = 20;

/**
 * Where another qemu-trap ends just now, or takes the lock, the directory may go, or what this one has put there to
 * take the lock with: then all is done again.
 */
function openAndLock(path: string): { readonly predecessor: number | null; readonly made: readonly string[] } {
  for (let tries = 1; ; tries++) {
    const made: string[] = [];
    try {
      open(path, (directory) => made.push(directory));
      return { predecessor: lock(path), made };
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

/** link(2), which one caller only can succeed with. */
function linked(file: string, as: string): boolean {
  try {
    linkSync(file, as);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

function quietly(remove: () => void): void {
  try {
    remove();
  } catch {
    // Gone already, or not empty: no reason to fail at the end.
  }
}

/** False where it cannot be listed, too, for want of a descriptor. */
function hasNothingLeft(path: string): boolean {
  try {
    return !readdirSync(path).some((name) => isRunFile(name) || isLockingFile(name));
  } catch {
    return false;
  }
}

/**
 * Makes the run directory ready and takes its lock.
 * @param socketNames every socket that will lie in it, so that a path too long is found now and not by QEMU
 * @throws {UsageError} where it cannot serve, or another qemu-trap serves it
 */
export function openRunDir(asked: string | null, vm: string, env: NodeJS.ProcessEnv, socketNames: readonly string[]): RunDir {
  const place = choose(asked, vm, env);
  const { path, parent } = place;
  const mine = identify(process.pid);
  let predecessor: number | null;
  let made: readonly string[];
  try {
    check(path, socketNames);
    ({ predecessor, made } = openAndLock(path));
  } catch (error) {
    if (place.made) quietly(() => rmdirSync(path));
    throw error instanceof UsageError
      ? error
      : refusedBySystem(`run directory ${path}: cannot be used`, error, 'name another with --run-dir');
  }
  // By their names, for a directory cannot be listed where no descriptor is left.
  const names = new Set<string>([runFiles.monitorsConfig, runFiles.qemu, runFiles.qemuPid, runFiles.frozen, ...socketNames]);
  const drop = (name: string): void => quietly(() => unlinkSync(join(path, name)));
  const clear = (but?: string): void => {
    const dropThese = (some: Iterable<string>): void => [...some].filter((name) => name !== but).forEach(drop);
    dropThese(names);
    quietly(() => dropThese(readdirSync(path).filter(isRunFile)));
    quietly(() => dropThese(readdirSync(path).filter((name) => isLockingFile(name) && !isIdentityAlive(readIdentity(join(path, name))))));
  };
  const isOurs = (): boolean => {
    try {
      return mine === null || readIdentity(join(path, runFiles.lock)) === mine;
    } catch {
      // It cannot be read; nobody else takes the lock of one that lives.
      return true;
    }
  };
  return {
    path,
    isLasting: !place.made,
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
      if (this.leaves) return;
      quietly(() => rmdirSync(path));
      removeMade(made);
      if (parent !== null) quietly(() => rmdirSync(parent));
    },
  };
}
