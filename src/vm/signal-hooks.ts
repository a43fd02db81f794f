import type { Socket } from 'node:net';
import { isAtHook } from '../dispatch/state.js';
import { toShutDown, type FreezeGuard } from '../guest-agent/freeze-guard.js';
import { signalOccasion } from '../hook/environment.js';
import type { HookFile } from '../hook/find.js';
import type { StopReason } from '../hook/log-lines.js';
import type { RunningHook, StepEnd } from '../hook/run.js';
import type { HookRunner } from '../hook/runner.js';
import { isRunning } from '../outcome/run-state.js';
import { HookConnections } from '../qemu/hook-connections.js';
import type { MonitorPaths } from '../qemu/launch-plan.js';
import type { SignalName } from '../signals/names.js';
import { within } from '../system/timer.js';
import type { RunContext, RunningQemu } from './context.js';
import type { ControlMonitor } from './control-monitor.js';
import type { Dispatcher } from './dispatcher.js';
import type { SavedGuest } from './saved-guest.js';
import { warnIfNotPressed } from './not-pressed.js';
import type { Survival } from './survival.js';

/** How long QEMU has to say how its guest is, when a hook has exited. */
const askWithinMs = 1_000;
/** How long a save that failed may take to be undone, before the chain goes on all the same. */
const abandonWithinMs = 5_000;

/** What the hook of a signal has to do with besides its own process. */
interface Surroundings {
  readonly runner: HookRunner;
  readonly dispatcher: Dispatcher;
  readonly monitor: ControlMonitor;
  readonly savedGuest: SavedGuest;
  readonly freezeGuard: FreezeGuard;
  readonly survival: Survival;
}

/** The hooks of signals, one of each signal at a time: each with a monitor, its outcome for the core. */
export class SignalHooks {
  /** The latest run of each signal; `null` while it is being started. */
  readonly #turns = new Map<SignalName, { readonly path: string; run: RunningHook | null }>();
  readonly #unfinished = new Set<RunningHook>();
  /** Of which a hook has still to exit. */
  readonly #running = new Set<SignalName>();
  readonly #overdue = new Map<SignalName, string>();
  #connections: HookConnections<SignalName> | null = null;

  constructor(
    private readonly context: RunContext,
    private readonly running: RunningQemu,
    private readonly around: Surroundings,
  ) {}

  /** Makes ready what a hook needs. It may fail: the button is pressed without any of it. */
  prepare(monitors: MonitorPaths): void {
    const { survival, runner } = this.around;
    const { hooks, lateHooks } = monitors;
    survival.attempt(() => {
      this.#connections = new HookConnections(
        [...hooks.values(), lateHooks],
        (signal) => hooks.get(signal) ?? lateHooks,
      );
    });
    survival.attempt(() => runner.pipes);
  }

  /** No hook has been run yet. */
  get isUntouched(): boolean {
    return this.#turns.size === 0;
  }

  /** @param isHeld QEMU was told to quit, or exits: what a hook leaves unsaid is not waited for */
  hold(isHeld: boolean): void {
    this.#connections?.hold(isHeld);
  }

  /** No hook may write to its monitor any more. */
  silence(): void {
    this.#connections?.silence();
  }

  /** Runs a hook, and gives in how it ended, as `hook-end`. */
  run(signal: SignalName, script: HookFile, deadline: number): void {
    const { runner, dispatcher, survival } = this.around;
    const { qemu, monitors } = this.running;
    // A hook that was told to exit may take longer to do so than the next run of the same signal to begin.
    const turn: { readonly path: string; run: RunningHook | null } = { path: script.path, run: null };
    this.#turns.set(signal, turn);
    const mayHaveSaved = !this.around.savedGuest.isSaving();
    const isSuperseded = (): boolean => dispatcher.isClosed || this.#turns.get(signal) !== turn;
    const run = runner.run({
      subject: { signal },
      script,
      deadline,
      stopsAtDeadline: false,
      variables: signalOccasion(signal, qemu.pid, monitors),
      connections: {
        takeReady: () => this.#connections?.takeReady(signal) ?? null,
        take: async () => (await this.#connections?.take(signal)) ?? null,
        putBack: (connection) => this.#connections?.putBack(signal, connection),
      },
      // If its time was up before it began, the core waits for no outcome.
      isWanted: () => !isSuperseded() && isAtHook(dispatcher.state, signal),
      onStepEnd: (end) => this.#onStepEnd(signal, deadline, end, mayHaveSaved),
    });
    turn.run = run;
    this.#unfinished.add(run);
    this.#running.add(signal);
    run.outcome
      .then((outcome) => {
        if (!isSuperseded()) this.#running.delete(signal);
        if (outcome !== null && !isSuperseded()) dispatcher.feed({ kind: 'hook-end', signal, outcome });
      })
      .then(() => run.leftoversGone())
      .catch(survival.survive)
      .finally(() => this.#unfinished.delete(run));
  }

  /** Stops the hook of `signal`, if it runs. */
  stop(signal: SignalName, why: StopReason): void {
    const turn = this.#turns.get(signal);
    if (why === 'timeout' && turn !== undefined) this.#overdue.set(signal, turn.path);
    turn?.run?.stop(why);
  }

  /** The hook of `signal` that was stopped because its time was up. */
  overdueHook(signal: SignalName): string | null {
    return this.#overdue.get(signal) ?? null;
  }

  /** Stops all that is left of any hook. */
  async close(): Promise<void> {
    for (const { run } of this.#turns.values()) run?.stop('qemu-exits');
    await Promise.all([...this.#unfinished].map((run) => run.leftoversGone()));
    this.#connections?.close();
  }

  /** What a hook leaves behind in the guest, and on its monitor. */
  async #onStepEnd(
    signal: SignalName,
    deadline: number,
    { hook, outcome, connection, isLast }: StepEnd,
    mayHaveSaved: boolean,
  ): Promise<void> {
    const { dispatcher, freezeGuard } = this.around;
    dispatcher.feed({ kind: 'hook-exit', signal });
    const stopping = dispatcher.state.shutdown === null ? null : toShutDown;
    freezeGuard.hookEnded(outcome.kind === 'done' ? stopping : 'the hook that froze it failed', deadline);
    if (connection !== null) this.#giveBack(signal, connection, isLast, outcome.kind === 'done' ? hook : null);
    await this.#lookAtGuest(signal, hook, mayHaveSaved && outcome.kind !== 'done');
  }

  /** @param done the hook, if it exited with 0 */
  #giveBack(signal: SignalName, connection: Socket, isLast: boolean, done: string | null): void {
    const { dispatcher, survival } = this.around;
    const isSilent = isLast && dispatcher.state.shutdown?.isPressed === true;
    const givenBack = this.#connections?.giveBack(signal, connection, isSilent);
    if (!isLast || done === null) return;
    const warned = givenBack?.then((error) =>
      warnIfNotPressed(this.context.log, this.around, { signal, hook: done, error }),
    );
    void warned?.catch(survival.survive);
  }

  /**
   * Not every change of a guest that stands still is an event: a hook may have made it run, or migrated it.
   * @param hasFailedToSave it failed, and a save that is under way may be its own: the hook of another signal may be at it
   */
  async #lookAtGuest(signal: SignalName, hook: string, hasFailedToSave: boolean): Promise<void> {
    const { dispatcher, monitor, savedGuest } = this.around;
    if (dispatcher.isClosed) return;
    const isAlone = [...this.#running].every((each) => each === signal);
    if (savedGuest.isSaving() && (isAlone || hasFailedToSave))
      await within(abandonWithinMs, savedGuest.abandonSave(hook, monitor));
    else if (!isRunning(dispatcher.state.evidence.runState)) await within(askWithinMs, monitor.refreshRunState());
  }
}
