import { existsSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { inheritedEnvironment } from '../hook/environment.js';
import { insideVariable } from '../qemu/launch-plan.js';
import type { Config } from '../options/command.js';
import { changesUser } from '../qemu/argv.js';
import { type Helpers, monitorsConfig, planLaunch } from '../qemu/launch-plan.js';
import { withTaken } from '../qemu/real-qemu.js';
import { startQemu } from '../qemu/process.js';
import { runFiles } from '../run-dir/files.js';
import { noteQemu, noteStarting } from '../run-dir/noted-qemu.js';
import { descriptorLimit, inheritedDescriptors, isUnmarked } from '../system/descriptors.js';
import { UsageError, refusedBySystem } from '../system/usage-error.js';
import type { RunningQemu } from './context.js';
import type { SavedState } from './saved-state.js';
import type { Workspace } from './workspace.js';

/**
 * Starts QEMU with monitors of qemu-trap's own.
 * @throws {UsageError} if it cannot be started: until it runs, an error ends the program, and after that none does
 */
export async function launch(
  config: Config,
  workspace: Workspace,
  saved: SavedState | null,
  inheritsNothing: boolean,
  env: NodeJS.ProcessEnv,
): Promise<RunningQemu> {
  const { runDir, monitors, helpers } = workspace;
  const monitorsFile = runDir.file(runFiles.monitorsConfig);
  try {
    const withheld = workspace.ready?.withheld ?? null;
    const inherited = inheritedDescriptors().filter((fd) => fd !== withheld);
    const plan = planLaunch({
      qemu: config.qemu,
      shield: config.shield,
      terminal: workspace.terminal,
      dieWithParent: config.onDeath === 'kill',
      helpers,
      monitorsFile,
      savedState: saved,
      inheritsNothing,
      inherited,
      marked: inherited.filter((fd) => !isUnmarked(fd)),
      withheld,
      descriptorLimit: descriptorLimit(),
    });
    writeConfig(monitorsFile, monitorsConfig(plan.controlFd, monitors));
    noteStarting(runDir);
    const qemu = await startQemu(
      plan,
      withTaken(config.qemu[0] ?? '', { ...inheritedEnvironment(env), [insideVariable]: '1' }),
      {
        controlSocket: monitors.control,
        monitorsFile,
        runDir: runDir.path,
      },
    );
    noteQemu(runDir, qemu.pid);
    return { qemu, monitors, runDir, saved, incoming: plan.incoming, adoption: null };
  } catch (error) {
    throw error instanceof UsageError
      ? error
      : refusedBySystem(
          (error as NodeJS.ErrnoException).path === monitorsFile
            ? `${monitorsFile}: cannot be written, so QEMU was not started`
            : 'QEMU cannot be started',
          error,
          'check that it starts without qemu-trap',
        );
  }
}

/** When a file was last read, if it was not read: then its time says so. */
const neverRead = 0;

function writeConfig(file: string, text: string): void {
  writeFileSync(file, text, { mode: 0o600 });
  utimesSync(file, neverRead, new Date());
}

/**
 * True if QEMU has read what we add and opened none of it. The control monitor is the first: a wrapper has closed the
 * descriptor that it was to inherit. False if the file system keeps no time of access (noatime of mount(8)).
 */
export function refusedControl({ runDir, monitors }: Workspace): boolean {
  try {
    return statSync(runDir.file(runFiles.monitorsConfig)).atimeMs !== neverRead && !existsSync(monitors.control);
  } catch {
    return false;
  }
}

/** True for a QEMU that keeps running if qemu-trap is killed, whatever was asked for. */
export function outlives(config: Config, helpers: Helpers): boolean {
  return config.onDeath === 'keep' || helpers.setpriv === null || changesUser(config.qemu);
}
