import { lstatSync, realpathSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { hookNames, type SignalName } from '../signals.js';

/** Where hooks are looked up. */
export interface HookDirs {
  /** The user's, or `null` where there is none. */
  readonly user: string | null;
  /** Those that come with qemu-trap. */
  readonly bundled: string;
}

/** A hook's file, or directory of steps, as it was found; whether it may run is trust.ts's business. */
export interface HookFile {
  readonly path: string;
  /** It comes with qemu-trap. */
  readonly ours: boolean;
}

/** True for anything at `path`, a dangling link included: who put it there meant something by it. */
function isThere(path: string): boolean {
  try {
    lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

/** The file that `script=` names: a path where it has a slash, else a name in the hooks directories. */
export function findScript(script: string, dirs: HookDirs): HookFile {
  if (script.includes('/')) {
    const path = resolve(script);
    return { path, ours: dirname(path) === dirs.bundled };
  }
  const mine = dirs.user === null ? null : join(dirs.user, script);
  const bundled = join(dirs.bundled, script);
  if (mine !== null && isThere(mine)) return { path: mine, ours: false };
  if (mine === null || isThere(bundled)) return { path: bundled, ours: true };
  return { path: mine, ours: false };
}

/**
 * What is named for `signal` in the user's hooks directory, `SIGTERM` and the directory `SIGTERM.d` alike; the first
 * one counts, more than one is a fault.
 */
export function findForSignal(signal: SignalName, dirs: HookDirs): HookFile[] {
  if (dirs.user === null) return [];
  const { user } = dirs;
  const names = hookNames(signal);
  return [...names, ...names.map((name) => `${name}.d`)]
    .map((name) => join(user, name))
    .filter(isThere)
    .map((path) => ({ path, ours: false }));
}

/** The names a file goes by: the one it was found under, and that of the file its links lead to. */
export function namesOf(file: HookFile): string[] {
  try {
    return [basename(file.path), basename(realpathSync(file.path))];
  } catch {
    return [basename(file.path)];
  }
}
