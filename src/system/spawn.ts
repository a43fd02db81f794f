import type {
  ChildProcess,
  SpawnOptions,
  SpawnSyncOptionsWithStringEncoding,
  SpawnSyncReturns,
} from 'node:child_process';
import type { Socket } from 'node:net';
import crossSpawn from 'cross-spawn';
import { hiding, type Stdio } from './descriptors.js';

/*
 * How every process is started.
 */

interface SpawnCall extends Omit<SpawnOptions, 'stdio'> {
  readonly stdio: readonly (Stdio | Socket)[];
}

/** Starts QEMU: what the descriptors of `stdio` do not name, and Node has not marked, it inherits. */
export function spawnQemu(
  command: string,
  args: readonly string[],
  options: SpawnCall,
  hidden: readonly number[],
): ChildProcess {
  return crossSpawn(command, [...args], { ...options, stdio: hiding(options.stdio, hidden) });
}

/**
 * Starts a hook or a helper: it gets the descriptors that `stdio` names, and none of those that qemu-trap was started
 * with.
 */
export function spawn(command: string, args: readonly string[], options: SpawnCall): ChildProcess {
  const child = crossSpawn(command, [...args], { ...options, stdio: hiding(options.stdio) });
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

/** The same, waited for. */
export function spawnSync(
  command: string,
  args: readonly string[],
  options: Omit<SpawnSyncOptionsWithStringEncoding, 'stdio' | 'encoding'> & { readonly stdio: readonly Stdio[] },
): SpawnSyncReturns<string> {
  return crossSpawn.sync(command, [...args], { ...options, stdio: hiding(options.stdio), encoding: 'utf8' });
}
