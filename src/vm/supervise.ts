import { notExecuted } from '../outcome/ending.js';
import type { Config } from '../options/command.js';
import { status } from '../outcome/exit-status.js';
import { findProgram } from '../qemu/helpers.js';
import { findRealQemu, isOurs } from '../qemu/real-qemu.js';
import { changeUserInstead, isQemu, userChanger } from '../qemu/wrappers.js';
import { allRules } from '../rules/resolve.js';
import { scriptOf } from '../rules/rule.js';
import { rememberTerminal } from '../system/terminal.js';
import { UsageError } from '../system/usage-error.js';
import type { VmContext } from './context.js';
import { checkCall, checkState } from './preflight.js';
import { runQemu } from './run-qemu.js';
import { stateFile } from './saved-state.js';
import type { FinishedRun } from './conclude.js';
import { Service } from './service.js';
import { takeOver } from './takeover.js';
import { warnOfDistrust, warnOfLimits } from './warnings.js';
import { prepare } from './workspace.js';

/** Of a run directory that was not used since its last qemu-trap ended as it should. */
const nothingLeft = { left: null, cleared: Promise.resolve() };

/**
 * The configuration with the real QEMU in the place of a link to qemu-trap.
 * @throws {UsageError} if there is none behind it
 */
function behindOwnLink(config: Config, env: NodeJS.ProcessEnv): Config {
  const [command = '', ...words] = config.qemu;
  const path = isQemu(command) ? findProgram(command, env) : null;
  if (path === null || !isOurs(path)) return config;
  const real = findRealQemu(path, env);
  if (real === null)
    throw new UsageError(
      `${command}: ${path} leads to qemu-trap itself, and there is no QEMU of that name: install QEMU, or write its full path`,
      status.notFound,
    );
  return { ...config, qemu: [real, ...words] };
}

/**
 * Runs QEMU as a service, from its start, or from where a qemu-trap that was killed has left it, to its end.
 * @returns the exit status
 * @throws {UsageError} before QEMU was started
 */
export async function supervise(given: VmContext): Promise<number> {
  const env = process.env;
  const context = { ...given, config: behindOwnLink(given.config, env) };
  const { config, vm, book, log } = context;
  const ready = checkCall(config, env);
  const distrusted = checkState(config, env);
  const isStateTrusted = distrusted === null;
  const file = isStateTrusted ? stateFile(config.stateDir, vm, env) : null;
  const hooked = allRules(book).filter((rule) => scriptOf(rule) !== null);
  const restoreTerminal = rememberTerminal();
  const signals = hooked.map((rule) => rule.signal);
  const workspace = prepare(config, vm, ready, signals, env);
  const { runDir, monitors } = workspace;
  const request = { runDir, monitors, qemu: config.qemu, state: file, onDeath: config.onDeath };
  const { left, cleared } = runDir.isFresh ? nothingLeft : await takeOver(request);
  const service = new Service(context, { runDir, stateFile: file, ready, leftoverHooksGone: cleared, isStateTrusted });
  if (distrusted !== null) warnOfDistrust(distrusted, log);
  if (left !== null) return service.conclude((await service.serve(left, true)).ending);

  // Before any hook of ours: what a killed one's hooks have left may be at work on what they would touch.
  await cleared;
  if (!runDir.isFresh) runDir.clear();
  warnOfLimits(config, workspace, log);
  const prevented = await service.prepare();
  if (prevented !== null) return service.conclude(notExecuted(prevented));
  try {
    const finished = await runQemu(context, workspace, service, file);
    if (finished.resumeFailure !== null) return await service.conclude(notExecuted(keptGuest(finished.resumeFailure)));
    if (finished.exit.signal !== null) restoreTerminal();
    warnOfUserChange(context, finished);
    return await service.conclude(finished.ending);
  } catch (error) {
    if (error instanceof UsageError) await service.fail(error);
    throw error;
  }
}

function keptGuest(why: string): { readonly words: string; readonly stop: null } {
  return { words: `the saved guest was loaded but cannot run (${why}); its state is kept`, stop: null };
}

function warnOfUserChange({ config, log }: VmContext, { hasFailed }: FinishedRun): void {
  const changer = hasFailed ? userChanger(config.qemu) : null;
  if (changer === null) return;
  log({
    event: 'wrapper',
    level: 'warning',
    message: `${changer}: it makes QEMU run as a user who cannot read the run directory: ${changeUserInstead}`,
    facts: { wrapper: changer },
  });
}
