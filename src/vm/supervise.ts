import { notExecuted } from '../outcome/ending.js';
import { changeUserInstead, isQemu, userChanger } from '../qemu/wrappers.js';
import { allRules } from '../rules/resolve.js';
import { checkStateDirectory } from '../system/state-directory.js';
import { rememberTerminal } from '../system/terminal.js';
import { UsageError } from '../system/usage-error.js';
import type { VmContext } from './context.js';
import { launch, outlives, refusedControl } from './launch.js';
import { checkCall, distrustedStateDirectory } from './preflight.js';
import { findSavedState, setStateAside } from './saved-guest.js';
import { type SavedState, putBack, stateFile } from './saved-state.js';
import { takeOver } from './takeover.js';
import { warnOfLimits } from './warnings.js';
import { type Over, Watch } from './watch.js';
import { prepare } from './workspace.js';

/** Of a run directory that nobody has used since its last qemu-trap ended as it should. */
const nothingLeft = { left: null, cleared: Promise.resolve() };

/**
 * Runs QEMU as a service, from its start, or from where a qemu-trap that was killed has left it, to its end.
 * @returns the exit status
 * @throws {UsageError} before QEMU was started
 */
export async function supervise(context: VmContext): Promise<number> {
  const { config, vm, book, log } = context;
  const env = process.env;
  const ready = checkCall(config, env);
  const distrusted = checkStateDirectory(config.stateDir, env);
  if (distrusted !== null && config.stateDir !== null) throw distrustedStateDirectory(distrusted);
  const file = distrusted === null ? stateFile(config.stateDir, vm, env) : null;
  const hooked = allRules(book)
    .filter((rule) => rule.script !== null)
    .map((rule) => rule.signal);
  const restoreTerminal = rememberTerminal();
  const workspace = prepare(config, vm, ready, hooked, env);
  const { runDir } = workspace;
  const request = { runDir, monitors: workspace.monitors, qemu: config.qemu, state: file, onDeath: config.onDeath };
  const { left, cleared } = runDir.isFresh ? nothingLeft : await takeOver(request);
  const watch = new Watch(context, runDir, file, ready, cleared, distrusted === null);
  if (distrusted !== null) {
    const { path, fault } = distrusted;
    log({
      event: 'state-distrusted',
      level: 'warning',
      message: `state directory ${path}: ${fault.what}: no guest is saved there or resumed, and no history kept; mend it: ${fault.mend}`,
      facts: { path, fix: fault.mend },
    });
  }
  if (left !== null) return watch.conclude((await watch.over(left, true)).ending);

  // Before any hook of ours: what a killed one's hooks have left may be at work on what they would touch.
  await cleared;
  if (!runDir.isFresh) runDir.clear();
  warnOfLimits(config, workspace, log);
  const prevented = await watch.prepare();
  if (prevented !== null) return watch.conclude(notExecuted(prevented));
  let inheritsNothing = false;
  const runOnce = async (saved: SavedState | null): Promise<Over> => {
    const running = await launch(config, workspace, saved, inheritsNothing, env);
    const { qemu } = running;
    log({
      event: 'start',
      level: 'info',
      message: `QEMU started (pid ${qemu.pid})${saved === null ? '' : `, to resume ${saved.path}`}`,
      facts: { pid: qemu.pid },
    });
    if (qemu.control === null) {
      const [wrapper = ''] = config.qemu;
      void qemu.reached.then(() =>
        log({
          event: 'wrapper',
          level: 'warning',
          message: `${wrapper} closes the descriptors that QEMU is to inherit: it was started once more, with a socket in the place of its control monitor`,
          facts: { wrapper },
        }),
      );
    }
    return watch.over(running, outlives(config, workspace.helpers));
  };
  const run = async (saved: SavedState | null): Promise<Over> => {
    const over = await runOnce(saved);
    if (
      !over.hasFailed ||
      isQemu(config.qemu[0] ?? '') ||
      userChanger(config.qemu) !== null ||
      !refusedControl(workspace)
    )
      return over;
    inheritsNothing = true;
    return runOnce(saved);
  };
  try {
    let ended = await run(findSavedState(config, file, log));
    if (ended.resumeFailure !== null)
      return await watch.conclude(
        notExecuted({
          words: `its saved guest is loaded and cannot go on (${ended.resumeFailure}); it is kept`,
          stop: null,
        }),
      );
    const refused = ended.refusedState && file !== null;
    if (refused) {
      setStateAside(
        file,
        `QEMU does not load it (${ended.exit.signal === null ? `status ${ended.exit.code}` : `killed by ${ended.exit.signal}`}; its own words are above)`,
        log,
      );
      ended = await run(null);
    }
    if (ended.exit.signal !== null) restoreTerminal();
    const changer = ended.hasFailed ? userChanger(config.qemu) : null;
    if (changer !== null) {
      log({
        event: 'wrapper',
        level: 'warning',
        message: `${changer}: QEMU was to run as a user who cannot read the run directory: ${changeUserInstead}`,
        facts: { wrapper: changer },
      });
    }
    // It was not the state that QEMU did not like.
    if (refused && ended.ending.end === 'start-failed') putBack(file);
    return await watch.conclude(ended.ending);
  } catch (error) {
    if (error instanceof UsageError) await watch.fail(error);
    throw error;
  }
}
