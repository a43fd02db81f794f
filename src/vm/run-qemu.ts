import { isQemu, userChanger } from '../qemu/wrappers.js';
import type { VmContext } from './context.js';
import { launch, outlives, refusedControl } from './launch.js';
import { findSavedState, setStateAside } from './find-saved-state.js';
import { putBack, type SavedState, type StateFile } from './saved-state.js';
import type { FinishedRun } from './conclude.js';
import type { Service } from './service.js';
import type { Workspace } from './workspace.js';

/** Starts QEMU in a workspace and serves it to its end, each time that {@link QemuRuns.run} is called. */
class QemuRuns {
  #inheritsNothing = false;

  constructor(
    private readonly context: VmContext,
    private readonly workspace: Workspace,
    private readonly service: Service,
  ) {}

  /** A second time, if a wrapper has closed the descriptors that QEMU was to inherit. */
  async run(saved: SavedState | null): Promise<FinishedRun> {
    const { qemu } = this.context.config;
    const finished = await this.#runOnce(saved);
    const mayBeRefused = finished.hasFailed && !isQemu(qemu[0] ?? '') && userChanger(qemu) === null;
    if (!mayBeRefused || !refusedControl(this.workspace)) return finished;
    this.#inheritsNothing = true;
    return this.#runOnce(saved);
  }

  async #runOnce(saved: SavedState | null): Promise<FinishedRun> {
    const { config, log } = this.context;
    const running = await launch(config, this.workspace, saved, this.#inheritsNothing, process.env);
    const { qemu } = running;
    log({
      event: 'start',
      level: 'info',
      message: `QEMU started (pid ${qemu.pid})${saved === null ? '' : ` to resume ${saved.path}`}`,
      facts: { pid: qemu.pid },
    });
    if (qemu.control === null) void qemu.reached.then(() => this.#tellOfClosedDescriptors());
    return this.service.serve(running, outlives(config, this.workspace.helpers));
  }

  #tellOfClosedDescriptors(): void {
    const [wrapper = ''] = this.context.config.qemu;
    this.context.log({
      event: 'wrapper',
      level: 'warning',
      message: `${wrapper} closes the descriptors that QEMU should inherit; qemu-trap started QEMU again, with a named socket for the control monitor`,
      facts: { wrapper },
    });
  }
}

/**
 * Runs QEMU, with the guest that was saved under this VM's name if there is one, and without it if QEMU refuses it.
 * @throws {UsageError} if QEMU cannot be started
 */
export async function runQemu(
  context: VmContext,
  workspace: Workspace,
  service: Service,
  file: StateFile | null,
): Promise<FinishedRun> {
  const { config, log } = context;
  const runs = new QemuRuns(context, workspace, service);
  const first = await runs.run(findSavedState(config, file, log));
  if (first.resumeFailure !== null || !first.refusedState || file === null) return first;
  const { signal, code } = first.exit;
  const how = signal === null ? `status ${code}` : `killed by ${signal}`;
  setStateAside(file, `QEMU cannot load it (${how}; its own messages are above)`, log);
  const second = await runs.run(null);
  // It was not the state that QEMU did not like.
  if (second.ending.end === 'start-failed') putBack(file);
  return second;
}
