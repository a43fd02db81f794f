import { hookFacts } from './hook-facts.js';
import { hookFailed, tellHookEnd, warnIfNotPressed } from './hook-words.js';
import { stageOf } from '../dispatch/state.js';
import { toShutDown, type FreezeGuard } from '../guest-agent/freeze-guard.js';
import { inheritedEnvironment, signalOccasion } from '../hook/environment.js';
import type { HookFile } from '../hook/find.js';
import { OutputPipes } from '../hook/output-pipes.js';
import { type HookCall, type HookRun, runHook } from '../hook/process.js';
import { stepsOf } from '../hook/steps.js';
import { guestEnded } from '../outcome/evidence.js';
import type { HookOutcome } from '../outcome/hook-outcome.js';
import { isRunning } from '../outcome/run-state.js';
import { HookConnections } from '../qemu/hook-connections.js';
import type { MonitorPaths } from '../qemu/launch-plan.js';
import type { Rule } from '../rules/rule.js';
import type { SignalName } from '../signals/names.js';
import { within } from '../system/settled-within.js';
import { errorText } from '../system/usage-error.js';
import type { RunContext, RunningQemu } from './context.js';
import type { ControlMonitor } from './control-monitor.js';
import type { Dispatcher } from './dispatcher.js';
import type { SavedGuest } from './guest-memory.js';
import type { Survival } from './survival.js';

/** How long mkfifo(1) is waited for, so that nothing is left in the run directory. */
const lastPipesMs = 500;
/** How long hooks are waited for that are being ended: longer than this, the kernel holds them. */
const lastHooksMs = 15_000;
/** How long QEMU has to say how its guest is, when a hook has ended. */
const askWithinMs = 1_000;
/** How long a save that failed may take to be undone, before the chain goes on all the same. */
const abandonWithinMs = 5_000;

/** Settled already: what comes after it comes after the step of the core that led there, and its words. */
const whatLedHereIsTold = Promise.resolve();

/** What one file of a hook has to know of the whole. */
interface StepOfChain {
  /** On the clock of `performance.now()`. */
  readonly deadline: number;
  /** Asked when all is ready for it. */
  readonly tooLate: () => boolean;
  /** No other one follows. */
  readonly isLast: boolean;
}

/** What a hook has to do with besides its own process. */
interface Surroundings {
  readonly dispatcher: Dispatcher;
  readonly monitor: ControlMonitor;
  readonly savedGuest: SavedGuest;
  readonly freezeGuard: FreezeGuard;
  readonly survival: Survival;
}

/** Runs the hooks of signals, one of each signal at a time, and gives the core what came of them. */
export class SignalHooks {
  readonly #runs = new Map<SignalName, HookRun>();
  readonly #turns = new Map<SignalName, object>();
  readonly #clearing = new Set<Promise<void>>();
  /** Those that were told to end. */
  readonly #told = new WeakSet<HookRun>();
  /** Copied once: process.env is read variable by variable. */
  readonly #inherited = inheritedEnvironment(process.env);
  #connections: HookConnections | null = null;
  #pipes: OutputPipes | null = null;

  constructor(
    private readonly context: RunContext,
    private readonly running: RunningQemu,
    private readonly around: Surroundings,
  ) {}

  /** Makes ready what a hook needs, and may be had or not: the button is pressed without any of it. */
  prepare(monitors: MonitorPaths): void {
    const { survival } = this.around;
    survival.attempt(() => (this.#connections = new HookConnections(monitors)));
    survival.attempt(() => (this.#pipes = new OutputPipes(this.running.runDir.file)));
  }

  /** No hook has been run yet. */
  get isUntouched(): boolean {
    return this.#turns.size === 0;
  }

  /** @param isTold QEMU was told to quit, or exits: what a hook leaves unsaid is not waited for */
  hold(isTold: boolean): void {
    this.#connections?.hold(isTold);
  }

  /** No hook may write to its monitor any more. */
  silence(): void {
    this.#connections?.silence();
  }

  /** Runs what the rule names, and gives in how it ended, as `hook-end`. */
  run(rule: Rule, deadline: number): void {
    this.#runScript(rule, deadline).catch((error: unknown) => {
      // The chain goes on, whatever it was.
      this.around.survival.survive(error);
      const { signal, script } = rule;
      const outcome = hookFailed(this.context.log, signal, script?.path ?? '', `cannot be run (${errorText(error)})`);
      this.around.dispatcher.feed({ kind: 'hook-end', signal, outcome });
    });
  }

  /** Ends the hook of `signal` before its time, if it runs. */
  end(signal: SignalName): void {
    const run = this.#runs.get(signal);
    if (run !== undefined) this.#end(run);
  }

  /** Ends all that is left of any hook, and removes what was made for them. */
  async close(): Promise<void> {
    for (const run of this.#runs.values()) this.#end(run);
    const cleared = [...[...this.#runs.values()].map((run) => run.cleared), ...this.#clearing];
    await within(lastHooksMs, Promise.all(cleared));
    this.#connections?.close();
    await within(lastPipesMs, Promise.resolve(this.#pipes?.close()));
  }

  #end(run: HookRun): void {
    this.#told.add(run);
    run.end();
  }

  /**
   * One hook, or the steps of a directory, one after the other until one fails. The first is started before this
   * returns, if all is ready for it.
   */
  async #runScript({ signal, script }: Rule, deadline: number): Promise<void> {
    if (script === null) return;
    const { dispatcher } = this.around;
    // One that was told to end may take longer to do so than the next run of the same signal to begin.
    const turn = {};
    this.#turns.set(signal, turn);
    const superseded = (): boolean => dispatcher.isClosed || this.#turns.get(signal) !== turn;

    let outcome: HookOutcome = { kind: 'done' };
    const steps = stepsOf(script);
    if ('fault' in steps) {
      await whatLedHereIsTold;
      outcome = hookFailed(this.context.log, signal, script.path, steps.fault);
    } else {
      for (const file of steps.files) {
        // If its time was up before it began, the core waits for no outcome.
        const tooLate = (): boolean => superseded() || stageOf(dispatcher.state, signal) !== 'script';
        const next = await this.#runFile(signal, file, { deadline, tooLate, isLast: file === steps.files.at(-1) });
        if (next === null || superseded()) return;
        outcome = next;
        if (outcome.kind !== 'done') break;
      }
    }
    dispatcher.feed({ kind: 'hook-end', signal, outcome });
  }

  /**
   * Runs one file, to its end.
   * @returns `null` if it was too late, or the outcome does not count any more
   */
  async #runFile(signal: SignalName, file: HookFile, step: StepOfChain): Promise<HookOutcome | null> {
    const hook = file.path;
    const startedAt = performance.now();
    const connection = this.#connections?.takeReady(signal) ?? (await this.#connections?.take(signal)) ?? null;
    const output = connection === null ? null : (this.#pipes?.takeReady() ?? (await this.#pipes?.take()) ?? null);
    if (step.tooLate()) {
      if (output !== null) this.#pipes?.putBack(output);
      if (connection !== null) this.#connections?.putBack(signal, connection);
      return null;
    }
    if (connection === null)
      return hookFailed(this.context.log, signal, hook, 'cannot be run: QEMU gave it no monitor');

    const run = runHook({
      ...this.#callOf(signal, file, step.deadline),
      monitor: connection,
      output,
      onOutput: (chunk) => this.context.log.hookOutput(hook, chunk),
    });
    this.#runs.set(signal, run);
    this.#clearing.add(run.cleared);
    void run.cleared.finally(() => this.#clearing.delete(run.cleared));
    await whatLedHereIsTold;
    if (run.pid !== undefined) {
      this.context.log({
        event: 'hook-start',
        level: 'info',
        message: `${signal}: running hook ${hook} (pid ${run.pid})`,
        facts: { signal, hook, pid: run.pid },
      });
    }
    const outcome = await run.ended;
    this.around.dispatcher.feed({ kind: 'hook-exit', signal });
    const isGuestOff = guestEnded(this.around.dispatcher.state.evidence);
    const ms = Math.round(performance.now() - startedAt);
    tellHookEnd(this.context.log, {
      signal,
      hook,
      outcome,
      ms,
      isGuestOff,
      pid: run.pid,
      wasTold: this.#told.has(run),
    });
    this.#giveBack(signal, hook, connection, outcome, step);
    await this.#lookAtGuest(hook);
    return this.around.dispatcher.isClosed || this.#runs.get(signal) !== run ? null : outcome;
  }

  /** What a hook leaves behind in the guest, and on its monitor. */
  #giveBack(
    signal: SignalName,
    hook: string,
    connection: NonNullable<HookCall['monitor']>,
    outcome: HookOutcome,
    { deadline, isLast }: StepOfChain,
  ): void {
    const { dispatcher, freezeGuard, survival } = this.around;
    const { stop } = dispatcher.state;
    const stopping = stop === null ? null : toShutDown;
    freezeGuard.hookEnded(outcome.kind === 'done' ? stopping : 'the hook that froze it failed', deadline);
    const givenBack = this.#connections?.giveBack(signal, connection, isLast && stop?.powerdown === true);
    if (!isLast || outcome.kind !== 'done') return;
    const told = givenBack?.then((error) => warnIfNotPressed(this.context.log, this.around, { signal, hook, error }));
    void told?.catch(survival.survive);
  }

  /** Not every change of a guest that stands still is an event: a hook may have made it run, or migrated it. */
  async #lookAtGuest(hook: string): Promise<void> {
    const { dispatcher, monitor, savedGuest } = this.around;
    if (dispatcher.isClosed) return;
    if (savedGuest.isSaving()) await within(abandonWithinMs, savedGuest.abandonSave(hook, monitor));
    else if (!isRunning(dispatcher.state.evidence.runState)) await within(askWithinMs, monitor.refreshRunState());
  }

  #callOf(
    signal: SignalName,
    file: HookFile,
    deadline: number,
  ): Pick<HookCall, 'file' | 'argument' | 'inherited' | 'facts'> {
    const { qemu, monitors, runDir } = this.running;
    return {
      file,
      argument: signal,
      inherited: this.#inherited,
      facts: {
        ...hookFacts(this.context, runDir),
        occasion: signalOccasion(signal, qemu.pid, monitors),
        leftMs: deadline - performance.now(),
      },
    };
  }
}
