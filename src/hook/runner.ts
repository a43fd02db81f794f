import type { Log } from '../log/log.js';
import { runFiles } from '../run-dir/files.js';
import { within } from '../system/timer.js';
import { inheritedEnvironment } from './environment.js';
import { HookGroups } from './hook-groups.js';
import { OutputPipes } from './output-pipes.js';
import { type CommonFacts, type HookJob, HookRun, type RunParts, type RunningHook } from './run.js';

/** How long mkfifo(1) is waited for, so that nothing is left in the run directory. */
const lastPipesMs = 500;

/** Runs the hooks of one VM, whatever they are for. */
export class HookRunner implements RunParts {
  /** Copied once: process.env is read variable by variable. */
  readonly inherited = inheritedEnvironment(process.env);
  readonly groups: HookGroups;
  #pipes: OutputPipes | null = null;
  /** Hooks may come at any moment, and are to find all ready. */
  #isWaiting = false;

  /** @param file gives the path of a file in the run directory */
  constructor(
    readonly facts: CommonFacts,
    readonly file: (name: string) => string,
    readonly log: Log,
  ) {
    this.groups = new HookGroups(file(runFiles.hookGroups));
  }

  /** Pipes for output, made ahead of the first hook. */
  get pipes(): OutputPipes {
    return (this.#pipes ??= new OutputPipes(this.file));
  }

  /** Makes ready what the hooks to come need, now and after each of them. */
  wait(): void {
    this.#isWaiting = true;
    this.groups.prepare();
  }

  /** No other hook is waited for; one that comes all the same has to wait until all is ready. */
  stopWaiting(): void {
    this.#isWaiting = false;
    this.groups.leave();
  }

  /** The first step is started before this returns, if all is ready for it. */
  run(job: HookJob): RunningHook {
    const run = new HookRun(this, job);
    void run.outcome
      .then(() => run.leftoversGone())
      .then(() => {
        if (this.#isWaiting) this.groups.prepare();
      });
    return run;
  }

  /** Closes the pipes that no hook has had, and moves qemu-trap back to the control group that it was started in. */
  async release(): Promise<void> {
    const pipes = this.#pipes;
    this.#pipes = null;
    this.stopWaiting();
    await within(lastPipesMs, Promise.resolve(pipes?.close()));
  }
}
