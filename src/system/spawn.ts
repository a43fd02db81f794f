import type {
  ChildProcess,
  SpawnOptions,
  SpawnSyncOptionsWithStringEncoding,
  SpawnSyncReturns,
} from 'node:child_process';
import { readFileSync, readlinkSync } from 'node:fs';
import type { Socket } from 'node:net';
import crossSpawn from 'cross-spawn';
import { hiding, type Stdio } from './descriptors.js';

/*
 * How every process is started. Until it has a session of its own, or for good if it is not detached, a signal to our
 * whole process group (timeout(1), Ctrl-C) is one to it too. libuv blocks signals over fork(2) and gives each its default
 * action before execve(2) (uv_spawn): one that came in between ends the child before it was anything but our copy.
 */

interface SpawnCall extends Omit<SpawnOptions, 'stdio'> {
  readonly stdio: readonly (Stdio | Socket)[];
}

/** How often a process is started that a signal ends before it is what it should be. */
const mostTries = 10;

function nameOf(process: number | 'self'): string | null {
  try {
    return readFileSync(`/proc/${process}/comm`, 'latin1');
  } catch {
    return null;
  }
}

/**
 * Whether a child that has not been reaped ended before execve(2): it is a zombie, which has no program, and still has
 * our name (comm of proc(5)). False without /proc.
 */
function neverExecuted(pid: number): boolean {
  try {
    readlinkSync(`/proc/${pid}/exe`);
    return false;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') return false;
  }
  const name = nameOf(pid);
  return name !== null && name === nameOf('self');
}

/** Starts a process, once more if it was ended before it was one: nothing of it has run. */
function startProcess(command: string, args: readonly string[], call: SpawnOptions): ChildProcess {
  for (let tries = 1; ; tries++) {
    const child = crossSpawn(command, [...args], call);
    if (child.pid === undefined || tries === mostTries || !neverExecuted(child.pid)) return child;
    for (const stream of child.stdio ?? []) stream?.destroy();
  }
}

/** Starts QEMU: what the descriptors of `stdio` do not name, and Node has not marked, it inherits. */
export function spawnQemu(
  command: string,
  args: readonly string[],
  options: SpawnCall,
  hidden: readonly number[],
): ChildProcess {
  return startProcess(command, args, { ...options, stdio: hiding(options.stdio, hidden) });
}

/**
 * Starts a hook or a helper: it gets the descriptors that `stdio` names, and none of those that qemu-trap was started
 * with.
 */
export function spawn(command: string, args: readonly string[], options: SpawnCall): ChildProcess {
  const child = startProcess(command, args, { ...options, stdio: hiding(options.stdio) });
  const { pid } = child;
  if (pid !== undefined) {
    children.add(pid);
    child.once('exit', () => children.delete(pid));
  }
  return child;
}

/** The hooks and helpers that have not been reaped: their numbers are theirs alone. */
const children = new Set<number>();

/** Whether qemu-trap itself has started a process that is still there, as a hook or a helper. */
export function isOwnChild(pid: number): boolean {
  return children.has(pid);
}

/** The same, waited for; once more if a signal ended it. */
export function spawnSync(
  command: string,
  args: readonly string[],
  options: Omit<SpawnSyncOptionsWithStringEncoding, 'stdio' | 'encoding'> & {
    readonly stdio: readonly Stdio[];
    /** In a session of its own, as with spawn(); Node's types do not have it here. */
    readonly detached?: boolean;
  },
): SpawnSyncReturns<string> {
  const call = { ...options, stdio: hiding(options.stdio), encoding: 'utf8' } as const;
  for (let tries = 1; ; tries++) {
    const result = crossSpawn.sync(command, [...args], call);
    // Node has an error where it was killed for its timeout.
    if (result.signal === null || result.error || tries === mostTries) return result;
  }
}
