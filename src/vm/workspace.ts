import { onExit } from 'signal-exit';
import type { Config } from '../options/command.js';
import { usesTerminal } from '../qemu/argv.js';
import { findHelpers } from '../qemu/helpers.js';
import type { Helpers, MonitorPaths, TerminalUse } from '../qemu/launch-plan.js';
import { runFiles } from '../run-dir/files.js';
import { type RunDir, openRunDir } from '../run-dir/run-dir.js';
import type { SignalName } from '../signals/names.js';
import { atTerminal, isInBackground } from '../system/terminal.js';
import { UsageError } from '../system/usage-error.js';
import type { ReadyDescriptor } from './readiness.js';

/** The sockets in the run directory: a hook's own for each signal that has one, and the spare ones. */
function placeMonitors(hooked: readonly SignalName[], file: (name: string) => string): MonitorPaths {
  return {
    control: file(runFiles.control),
    hooks: new Map(hooked.map((signal) => [signal, file(runFiles.hook(signal))])),
    lateHooks: file(runFiles.lateHooks),
    events: file(runFiles.events),
    qmp: file(runFiles.qmp),
    human: file(runFiles.human),
  };
}

/** What the start of QEMU needs besides its command line; the same if it has to be started a second time. */
export interface Workspace {
  readonly runDir: RunDir;
  readonly monitors: MonitorPaths;
  readonly helpers: Helpers;
  readonly ready: ReadyDescriptor | null;
  readonly terminal: TerminalUse;
}

export function prepare(
  config: Config,
  vm: string,
  ready: ReadyDescriptor | null,
  hooked: readonly SignalName[],
  env: NodeJS.ProcessEnv,
): Workspace {
  const names: string[] = [];
  placeMonitors(hooked, (name) => (names.push(name), name));
  const runDir = openRunDir({ asked: config.runDir, vm, stateDir: config.stateDir, env, socketNames: names });
  // Whatever ends the program, and whenever: no socket and no lock is left behind without need.
  onExit(() => runDir.close());
  if (config.onDeath === 'keep' && config.attach === null && !runDir.isLasting) {
    throw new UsageError(
      '--on-death keep: the next start would not find the guest, because the run directory is a new one each time: name one with --run-dir',
    );
  }
  return {
    runDir,
    monitors: placeMonitors(hooked, runDir.file),
    helpers: findHelpers(env),
    ready,
    terminal: terminalUse(config.qemu),
  };
}

function terminalUse(qemu: readonly string[]): TerminalUse {
  if (!atTerminal || !usesTerminal(qemu)) return 'none';
  // A guest that has lost its terminal is worse off than one that the kernel stops for it.
  return isInBackground(false) ? 'background' : 'foreground';
}
