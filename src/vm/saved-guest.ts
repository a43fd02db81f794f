import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { hasMigrated, isLoading, isPaused, loadingRunState, savingRunState } from '../outcome/run-state.js';
import { startsPaused } from '../qemu/argv.js';
import { queryRunState } from '../qemu/power-button.js';
import { MonitorClosed, QmpError } from '../qmp/messages.js';
import { runFiles } from '../run-dir/files.js';
import { releaseInherited } from '../system/descriptors.js';
import { errorText } from '../system/usage-error.js';
import type { RunContext, RunningQemu } from './context.js';
import type { ControlMonitor } from './control-monitor.js';
import { abandonSave, type SavedState } from './saved-state.js';
import type { Survival } from './survival.js';
import { pause } from '../system/timer.js';

const resumePollMs = 20;

/** A guest whose memory goes to a file, or comes from one: its state must be whole, and count once. */
export class SavedGuest {
  /** QEMU loads a saved guest, which must not run before its state is out of its place. */
  isResuming: boolean;
  /** QEMU has said no to the state. */
  isRefused = false;
  /** Why QEMU did not let a guest run that it had loaded. */
  resumeFailure: string | null = null;
  /** A save is undone: its file has gone, and the guest has still to be let go on. */
  #isUndoing = false;

  constructor(
    private readonly context: RunContext,
    private readonly running: RunningQemu,
    private readonly survival: Survival,
  ) {
    this.isResuming = running.saved !== null;
    // A QEMU that refuses its saved state is started once more, and needs them again.
    if (!this.isResuming || running.adoption !== null) this.#releaseInherited();
  }

  /** A hook writes the guest's memory, and it is not under its name yet. */
  isSaving(): boolean {
    return this.context.stateFile !== null && existsSync(this.context.stateFile.part);
  }

  /** A QEMU that was taken over may have loaded it already. */
  wasFoundIn(runState: string): void {
    this.isResuming = isLoading(runState) || isPaused(runState);
  }

  /** The run state as the core is to know it. */
  read(runState: string): string {
    // Loaded, but still to be let go: until then nothing of it is lost by an end.
    if (this.isResuming) return loadingRunState;
    // Written, but not yet under its name: QEMU must stay, because the guest may have to go on.
    if (hasMigrated(runState) && (this.isSaving() || this.#isUndoing)) return savingRunState;
    return runState;
  }

  /**
   * Has QEMU load the saved guest and lets it go on; before that, its state is taken out of its place.
   * @param isWanted false if QEMU is told to quit meanwhile
   * @throws {MonitorClosed}
   */
  async resume(monitor: ControlMonitor, isWanted: () => boolean): Promise<void> {
    const { saved } = this.running;
    if (saved === null || !(await this.#load(saved, monitor))) return;
    while (isLoading(await queryRunState(monitor.client))) await pause(resumePollMs);
    if (!isWanted()) return;
    this.survival.attempt(() => writeFileSync(this.#mark(), '', { mode: 0o600 }));
    try {
      saved.setApart();
    } catch (error) {
      this.context.log({
        event: 'state-kept',
        level: 'error',
        message: `${saved.path}: cannot be removed (${errorText(error)}): remove it before the next start, because the guest in it is running again`,
        facts: { path: saved.path },
      });
    }
    this.isResuming = false;
    this.#releaseInherited();
    try {
      await this.letGo(monitor);
    } catch (error) {
      if (!(error instanceof QmpError)) throw error;
      return this.#cannotGoOn(saved, error.desc, monitor);
    }
    this.survival.attempt(() => saved.discard());
    this.context.log({
      event: 'resumed',
      level: 'info',
      message: `resumed the saved guest (${saved.path})`,
      facts: { path: saved.path },
    });
    await monitor.refreshRunState();
  }

  /** Lets a guest go on that was loaded from a state which is gone now. */
  async letGo({ client }: ControlMonitor): Promise<void> {
    if (!startsPaused(this.context.config.qemu)) await client.execute('cont');
    rmSync(this.#mark(), { force: true });
  }

  /** A qemu-trap that was killed had taken the state out of its place, and had still to let the guest go. */
  wasToBeLetGo(): boolean {
    return existsSync(this.#mark());
  }

  /** Undoes a save that was not finished: the guest keeps running. */
  async abandonSave(hook: string, monitor: ControlMonitor): Promise<void> {
    const { stateFile, log } = this.context;
    if (stateFile === null) return;
    log({
      event: 'save-abandoned',
      level: 'warning',
      message: `hook ${hook} left the guest half saved; the guest continues`,
      facts: { hook },
    });
    this.#isUndoing = true;
    try {
      await abandonSave(stateFile, monitor.client);
    } catch (error) {
      if (error instanceof MonitorClosed) return;
      log({
        event: 'save-stuck',
        level: 'error',
        message: `the half-saved guest cannot continue: ${errorText(error)}`,
      });
    } finally {
      this.#isUndoing = false;
    }
    await monitor.refreshRunState();
  }

  #mark(): string {
    return this.running.runDir.file(runFiles.resuming);
  }

  #releaseInherited(): void {
    releaseInherited(this.context.ready?.withheld ?? null);
  }

  /** The guest is loaded, and QEMU refuses to let it run: its disk is another's, say. Nothing of it is lost. */
  #cannotGoOn(saved: SavedState, why: string, { client }: ControlMonitor): void {
    this.survival.attempt(() => saved.putBack());
    this.survival.attempt(() => rmSync(this.#mark(), { force: true }));
    this.resumeFailure = why;
    void client.executeLast('quit').catch(() => undefined);
  }

  /** @returns false if QEMU refuses to load the guest: then it quits */
  async #load({ path }: SavedState, { client }: ControlMonitor): Promise<boolean> {
    // A qemu-trap that was killed may have asked already.
    const { status } = (await client.execute('query-migrate')) as { status?: string };
    if (status !== undefined || !isLoading(await queryRunState(client))) return true;
    let refusal = '';
    for (const uri of this.running.incoming) {
      try {
        await client.execute('migrate-incoming', { uri });
        return true;
      } catch (error) {
        if (!(error instanceof QmpError)) throw error;
        refusal = error.desc;
      }
    }
    this.isRefused = true;
    this.context.log({
      event: 'state-refused',
      level: 'warning',
      message: `saved state ${path}: QEMU refuses to load it: ${refusal}`,
      facts: { path },
    });
    void client.executeLast('quit').catch(() => undefined);
    return false;
  }
}
