import { readdirSync, rmdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { identify, isIdentityAlive, readIdentity } from '../system/process-identity.js';
import { quietly } from '../system/quietly.js';
import { UsageError, refusedBySystem } from '../system/usage-error.js';
import { check, choose } from './directory.js';
import { isLeftFile, isLockingFile, isRunFile, runFiles } from './files.js';
import { type Opened, openAndLock, removeMade } from './lock.js';

/** The VM's own directory for sockets and state; only one qemu-trap serves it at a time. */
export interface RunDir {
  readonly path: string;
  /** The path of a file in it, which {@link RunDir.clear} and {@link RunDir.close} will remove. */
  file(name: string): string;
  /** The next start of this VM looks for it in the same place. */
  readonly isLasting: boolean;
  /** Why its lock is not the kernel's, and does not hold across pid namespaces; `null` if it is. */
  readonly weakLock: string | null;
  /** The pid of a qemu-trap that served it, and was killed; `null` if the last one ended as it should. */
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

/** `null` if it cannot be listed, for want of a descriptor. */
function list(path: string): string[] | null {
  try {
    return readdirSync(path);
  } catch {
    return null;
  }
}

function hasNothingLeft(path: string): boolean {
  return list(path)?.some(isLeftFile) === false;
}

/** What is asked of a run directory. */
interface RunDirCall {
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
 * @throws {UsageError} if it cannot serve, or another qemu-trap serves it
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
  // By their names, because a directory cannot be listed if no descriptor is left.
  const names = new Set<string>([
    runFiles.monitorsConfig,
    runFiles.qemu,
    runFiles.qemuPid,
    runFiles.frozen,
    ...socketNames,
  ]);
  const drop = (name: string): void => quietly(() => unlinkSync(join(path, name)));
  const isToGo = (name: string): boolean =>
    isRunFile(name) || names.has(name) || (isLockingFile(name) && !isIdentityAlive(readIdentity(join(path, name))));
  const clear = (but?: string): void => {
    for (const name of list(path)?.filter(isToGo) ?? names) if (name !== but) drop(name);
  };
  const isOurs = (): boolean => {
    try {
      return lock !== null || mine === null || readIdentity(join(path, runFiles.lock)) === mine;
    } catch {
      // It cannot be read; no other qemu-trap takes the lock of one that lives.
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
      // Last of all: the next one that waits for it finds nothing that is half removed.
      lock?.release();
    },
  };
}
