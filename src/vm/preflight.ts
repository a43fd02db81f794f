import type { Config } from '../options/command.js';
import { daemonizes, unfinishedOption } from '../qemu/argv.js';
import { requireQemu } from '../qemu/helpers.js';
import { inheritedDescriptors, isWritable } from '../system/descriptors.js';
import type { Fault } from '../system/permissions.js';
import { checkStateDirectory } from '../system/state-directory.js';
import { UsageError } from '../system/usage-error.js';
import { ReadyDescriptor } from './readiness.js';

/** Refuses what cannot be served. */
export function checkCall(config: Config, env: NodeJS.ProcessEnv): ReadyDescriptor | null {
  if (config.attach === null) {
    if (daemonizes(config.qemu)) {
      throw new UsageError(
        '-daemonize: qemu-trap must stay the parent of QEMU: leave the option out; your service manager does that job',
      );
    }
    requireQemu(config.qemu[0] ?? '', env);
    const unfinished = unfinishedOption(config.qemu);
    if (unfinished !== null)
      throw new UsageError(
        `QEMU's ${unfinished}: its value is missing: write the value after the option, or leave the option out`,
      );
  }
  const { readyFd } = config;
  if (readyFd === null) return null;
  if (!(inheritedDescriptors().includes(readyFd) && isWritable(readyFd) === true)) {
    throw new UsageError(
      `--ready-fd ${readyFd}: that file descriptor is not open for writing: open it in the shell (${readyFd}>FILE), or have the service manager open it`,
    );
  }
  return new ReadyDescriptor(readyFd);
}

/** A state directory, and why it is not to be written to or believed. */
export interface Distrusted {
  readonly path: string;
  readonly fault: Fault;
}

/**
 * @returns why no guest is saved or resumed, and no history kept; `null` if the state directory is as it should be
 * @throws {UsageError} if it is not, and was asked for
 */
export function checkState({ stateDir }: Config, env: NodeJS.ProcessEnv): Distrusted | null {
  const distrusted = checkStateDirectory(stateDir, env);
  if (distrusted === null || stateDir === null) return distrusted;
  const { path, fault } = distrusted;
  throw new UsageError(`state directory ${path}: ${fault.what} (fix: ${fault.fix}, or name another with --state-dir)`);
}
