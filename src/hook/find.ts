import { realpathSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { isEventName } from './event-names.js';
import { isThere } from '../system/is-there.js';
import { hookNames, type SignalName } from '../signals/names.js';

/** The hooks that come with qemu-trap. */
export const bundledHooks: readonly string[] = [
  'powerdown',
  'reset',
  'reboot',
  'save',
  'guest-shutdown',
  'freeze',
  'thaw',
  'pause',
  'resume',
  'dump',
];

/** Where hooks are looked up. */
export interface HookDirs {
  /** The user's, or `null` if there is none. */
  readonly user: string | null;
  /** Those that come with qemu-trap. */
  readonly bundled: string;
}

/** The folder of the `qmp` command. */
export function libDir(dirs: HookDirs): string {
  return join(dirs.bundled, 'lib');
}

/** A hook's file, or directory of steps, as it was found; whether it may run is trust.ts's business. */
export interface HookFile {
  readonly path: string;
  /** It comes with qemu-trap. */
  readonly ours: boolean;
}

/** The file that `script=` names: a path if it has a slash, else a name in the hooks directories. */
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
  return findUsers(hookNames(signal), dirs);
}

/** The hooks that run before QEMU starts, when its guest first runs, and after it has exited. */
export const lifecycleHooks = ['start', 'ready', 'end'] as const;
export type LifecycleHook = (typeof lifecycleHooks)[number];

export function isLifecycleHook(name: string): name is LifecycleHook {
  return (lifecycleHooks as readonly string[]).includes(name);
}

/** How long such a hook has, in milliseconds, all its steps together; what it leaves has its grace period besides. */
export const lifecycleTimeoutMs: Readonly<Record<LifecycleHook, number>> = {
  start: 30_000,
  ready: 30_000,
  end: 10_000,
};

/** How long the hooks of events have in all when QEMU has exited, in milliseconds. */
export const lastEventsMs = 10_000;

/** What is there for {@link LifecycleHook} in the user's hooks directory, a file or a directory of steps; the first one counts. */
export function findLifecycleHook(which: LifecycleHook, dirs: HookDirs): HookFile[] {
  return findUsers([which], dirs);
}

/** What is there for an event of QEMU's in the user's hooks directory; the first one counts. */
export function findEventHook(name: string, dirs: HookDirs): HookFile[] {
  return isEventName(name) ? findUsers([name], dirs) : [];
}

/** Every hook of one of `events` in the user's hooks directory, with what it is for. */
export function findEventHooks(
  events: readonly string[],
  dirs: HookDirs,
): readonly { readonly name: string; readonly found: readonly HookFile[] }[] {
  return events.map((name) => ({ name, found: findEventHook(name, dirs) })).filter(({ found }) => found.length > 0);
}

function findUsers(names: readonly string[], { user }: HookDirs): HookFile[] {
  if (user === null) return [];
  return [...names, ...names.map((name) => `${name}.d`)]
    .map((name) => join(user, name))
    .filter(isThere)
    .map((path) => ({ path, ours: false }));
}

/**
 * The names by which a file is one of the hooks that have a meaning: its own, and that of the file its links lead to,
 * each where it lies in a hooks directory. A script elsewhere may be called `reset` and mean anything.
 */
export function hookNamesOf(file: HookFile, dirs: HookDirs): string[] {
  const homes = [dirs.user, dirs.bundled].filter((each) => each !== null);
  const paths = [file.path];
  try {
    paths.push(realpathSync(file.path));
    homes.push(...homes.map((each) => realpathSync(each)));
  } catch {
    // A link to nothing, say: it has the one name.
  }
  return paths.filter((path) => homes.includes(dirname(path))).map((path) => basename(path));
}
