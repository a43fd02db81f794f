import { closeSync, constants, fstatSync, fsyncSync, lstatSync, openSync, renameSync, unlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { openToOthers } from '../system/permissions.js';
import type { QmpClient } from '../qmp/client.js';
import { stateDirectory } from '../system/state-directory.js';
import { UsageError } from '../system/usage-error.js';
import { isHeldByMigration } from '../outcome/run-state.js';
import { queryRunState } from '../qemu/power-button.js';
import { asFileName } from '../run-dir/name.js';
import { pause } from '../system/timer.js';

/** Where a VM's memory and devices go when its guest is saved, and where its next start looks for them. */
export interface StateFile {
  /** Whole, or not there. */
  readonly path: string;
  /** It is being written. */
  readonly part: string;
}

/** What `cat` has not brought to its end yet: see hooks/save. */
const unfinished = (file: StateFile): string[] => [file.part, `${file.part}.cat`, goingOn(file)];

/** Its name while its guest is resumed: a start that finds it does not know whether that has run since. */
function goingOn(file: StateFile): string {
  return `${file.path}.resuming`;
}

/**
 * @param asked by `--state-dir`
 * @returns `null` for a user without a home, or with one that QEMU or a shell could not be told
 * @throws {UsageError} if they could not be told what was asked for
 */
export function stateFile(asked: string | null, vm: string, env: NodeJS.ProcessEnv): StateFile | null {
  const directory = stateDirectory(asked, env);
  if (directory === null) return null;
  if (/["'\\\n\r,]/.test(directory)) {
    if (asked === null) return null;
    throw new UsageError(
      `state directory ${directory}: QEMU cannot take a path with quotes, commas or backslashes: name another with --state-dir`,
    );
  }
  const path = join(directory, `${asFileName(vm)}.state`);
  return { path, part: `${path}.part` };
}

/** A guest that was saved, and is not resumed yet. */
export interface SavedState {
  readonly path: string;
  /** Open for reading. */
  readonly fd: number;
  /**
   * Takes it out of its place, durably: the guest is about to go on, and what it changes on its disks would not fit it
   * any more.
   */
  setApart(): void;
  /** Undoes that: the guest has not gone on. */
  putBack(): void;
  /** Removes what was set apart: the guest keeps running. */
  discard(): void;
}

function syncDirectory(path: string): void {
  const fd = openSync(dirname(path), constants.O_RDONLY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function removeQuietly(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // It is not there, as a rule.
  }
}

/**
 * Opens what `file` holds; what a save that was cut short has left is removed.
 * @returns `null` if nothing is saved, or why it cannot be used
 */
export function openSavedState(file: StateFile): SavedState | null | { readonly fault: string } {
  for (const path of unfinished(file)) removeQuietly(path);
  try {
    lstatSync(file.path);
  } catch {
    // Nothing is there, or in a directory where this user could not have saved anything either.
    return null;
  }
  let fd: number;
  try {
    fd = openSync(file.path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    return { fault: `it cannot be opened (${(error as NodeJS.ErrnoException).code})` };
  }
  const stats = fstatSync(fd);
  const fault = stats.isFile() ? openToOthers(file.path, stats, 'it') : { what: 'it is not a file' };
  if (fault) {
    closeSync(fd);
    return { fault: fault.what };
  }
  return {
    path: file.path,
    fd,
    setApart: () => {
      renameSync(file.path, goingOn(file));
      syncDirectory(file.path);
      closeSync(fd);
    },
    putBack: () => {
      renameSync(goingOn(file), file.path);
      syncDirectory(file.path);
    },
    discard: () => removeQuietly(goingOn(file)),
  };
}

/**
 * Puts a state aside that does not serve, so that the VM boots normally and an administrator may look at it.
 * @returns where it is now
 * @throws NodeJS.ErrnoException if it cannot be moved
 */
export function setAside(file: StateFile): string {
  const aside = `${file.path}.refused`;
  renameSync(file.path, aside);
  syncDirectory(file.path);
  return aside;
}

/** Undoes {@link setAside}. */
export function putBack(file: StateFile): void {
  renameSync(`${file.path}.refused`, file.path);
}

/** What is left of a save that was cut short is of no use when QEMU has gone. */
export function removeUnfinished(file: StateFile): void {
  for (const path of [file.part, `${file.part}.cat`]) removeQuietly(path);
}

const notMigratingWithinMs = 3_000;
const pollMs = 50;

/**
 * Undoes a save whose hook has gone before its end: the guest keeps running, and nothing half-written is left.
 * @throws {MonitorClosed} if QEMU has exited
 * @throws {QmpError} if QEMU cannot make the guest go on
 */
export async function abandonSave(file: StateFile, client: QmpClient): Promise<void> {
  await client.execute('migrate_cancel');
  const until = performance.now() + notMigratingWithinMs;
  while (performance.now() < until) {
    const { status } = (await client.execute('query-migrate')) as { status?: string };
    if (status === undefined || ['completed', 'failed', 'cancelled'].includes(status)) break;
    await pause(pollMs);
  }
  for (const path of unfinished(file)) removeQuietly(path);
  // A guest that QEMU had already handed over stands still; cont makes its disks its own again.
  if (isHeldByMigration(await queryRunState(client))) await client.execute('cont');
}
