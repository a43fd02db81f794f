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
  return crossSpawn(command, [...args], { ...options, stdio: hiding(options.stdio) });
}

/** The same, waited for. */
export function spawnSync(
  command: string,
  args: readonly string[],
  options: Omit<SpawnSyncOptionsWithStringEncoding, 'stdio' | 'encoding'> & { readonly stdio: readonly Stdio[] },
): SpawnSyncReturns<string> {
  return crossSpawn.sync(command, [...args], { ...options, stdio: hiding(options.stdio), encoding: 'utf8' });
}
