import { existsSync, rmSync, writeFileSync } from 'node:fs';
import type { Action, Input } from '../dispatch/messages.js';
import { initialState, stageOf, nextTick } from '../dispatch/state.js';
import { step } from '../dispatch/step.js';
import { FreezeGuard, toShutDown } from '../guest-agent/freeze-guard.js';
import { isOfTreeWalk } from '../hook/descendants.js';
import { inheritedEnvironment, signalOccasion } from '../hook/environment.js';
import { type HookFile, libDir } from '../hook/find.js';
import { OutputPipes } from '../hook/output-pipes.js';
import { markHooksToCome } from '../hook/process-mark.js';
import { type HookCall, type HookRun, runHook } from '../hook/process.js';
import { stepsOf } from '../hook/steps.js';
import { type Ending, endingOf } from '../outcome/ending.js';
import { guestEnded, isExiting, readEvent } from '../outcome/evidence.js';
import type { HookOutcome } from '../outcome/hook-outcome.js';
import {
  hasMigrated,
  isLoading,
  isPaused,
  isRunning,
  isUp,
  loadingRunState,
  savingRunState,
  unknownRunState,
} from '../outcome/run-state.js';
import { guestSource, startsPaused, waitsForConnection } from '../qemu/argv.js';
import { HookConnections } from '../qemu/hook-connections.js';
import { letGoOn, pressPowerButton, queryRunState } from '../qemu/power-button.js';
import type { QemuExit } from '../qemu/process.js';
import { QmpClient } from '../qmp/client.js';
import { findUnknownCommands } from '../qmp/known-commands.js';
import { MonitorClosed, QmpError, type QmpEvent } from '../qmp/messages.js';
import { type CommandResult, runMonitorCommand, shownCommand } from '../qmp/monitor-command.js';
import { QmpServer } from '../qmp/server.js';
import { allRules, describeUnknownCommand, ruleFor, userCommands } from '../rules/resolve.js';
import type { Rule } from '../rules/rule.js';
import { runFiles } from '../run-dir/files.js';
import { noteQemu, noteStarted } from '../run-dir/noted-qemu.js';
import type { SignalName } from '../signals/names.js';
import { type Trapped, onTrapped } from '../signals/trap.js';
import { releaseInherited } from '../system/descriptors.js';
import { formatSeconds } from '../system/duration.js';
import { readRest } from '../system/node-internals.js';
import { keepSpareDescriptor } from '../system/processes.js';
import { within } from '../system/settled-within.js';
import { atTerminal } from '../system/terminal.js';
import { errorText } from '../system/usage-error.js';
import type { Adoption, RunningQemu, RunContext, ShutdownRequest } from './context.js';
import { describeNotice } from './log-lines.js';
import { type SavedState, abandonSave } from './saved-state.js';

/** setTimeout takes no more (Node's documentation of timers). */
const longestTimeoutMs = 2 ** 31 - 1;
/** How long mkfifo(1) is waited for, so that nothing is left in the run directory. */
const lastPipesMs = 500;
/** How long hooks are waited for that are being ended: longer than this, the kernel holds them. */
const lastHooksMs = 15_000;
/** A QEMU that is slow to start has its monitor in a second or two. */
const monitorWithinMs = 10_000;
const wakeEveryMs = 1_000;
const reapEveryMs = 100;
const reapTries = 50;
const resumePollMs = 20;
/** How long QEMU has to say how its guest is, when a hook has ended. */
const askWithinMs = 1_000;
/** How long a save that failed may take to be undone, before the chain goes on all the same. */
const abandonWithinMs = 5_000;

/**
 * Events after which QEMU's run state may be another (qapi/run-state.json of QEMU). A guest that has panicked stands
 * still after STOP, or QEMU exits: then nothing may be asked any more.
 */
const runStateEvents: readonly string[] = ['STOP', 'RESUME', 'SUSPEND', 'WAKEUP', 'RESET', 'MIGRATION'];

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

/** One run of QEMU: takes facts to the core, and does what the core decides. */
export class VmRun {
  /** The shutdown that is under way. */
  shutdown: ShutdownRequest | null = null;
  /** Why QEMU did not let a guest run that it had loaded. */
  resumeFailure: string | null = null;

  readonly #client: QmpClient;
  readonly #hooks = new Map<SignalName, HookRun>();
  readonly #turns = new Map<SignalName, object>();
  readonly #clearing = new Set<Promise<void>>();
  /** Hooks that were told to end. */
  readonly #cut = new WeakSet<HookRun>();
  readonly #freezeGuard: FreezeGuard;
  /** Copied once: process.env is read variable by variable. */
  readonly #inherited = inheritedEnvironment(process.env);
  readonly #untrap: () => void;
  /** QEMU loads a saved guest, which must not run before its state is gone. */
  #resuming: boolean;
  #hookMonitors: HookConnections | null = null;
  #outputPipes: OutputPipes | null = null;
  #relay: QmpServer | null = null;
  #state;
  #timer: NodeJS.Timeout | null = null;
  /** How long the monitor has to come up, before a line says that it has not. */
  readonly #patience: NodeJS.Timeout;
  /** Looks for a QEMU that was stopped, as long as it is to end. */
  #waking: NodeJS.Timeout | undefined;
  #over = false;
  #started = false;
  #ready = false;
  #isStateRefused = false;
  #hasAbandoned = false;
  #abandon!: (exit: QemuExit) => void;
  readonly #abandoned = new Promise<QemuExit>((resolve) => (this.#abandon = resolve));

  constructor(
    private readonly context: RunContext,
    private readonly running: RunningQemu,
  ) {
    const { config } = context;
    const { qemu, runDir } = running;
    this.#resuming = running.saved !== null;
    // A QEMU that refuses its saved state is started once more, and needs them again.
    if (!this.#resuming || running.adoption !== null) this.#releaseInherited();
    this.#freezeGuard = new FreezeGuard(config.agent, runDir.file(runFiles.frozen), context.log);
    this.#state = initialState({ killAfterMs: config.killAfterMs, pressGaps: config.pressGaps });
    this.#client = new QmpClient(qemu.control, {
      onEvent: (event) => this.#onEvent(event),
      onClose: () => {
        this.#relay?.close();
        void this.#reap();
      },
    });
    if (qemu.control === null) void qemu.reached.then((control) => this.#client.open(control));
    keepSpareDescriptor();
    // It has run before, whatever it says now.
    this.#started = running.adoption !== null;
    this.#patience = setTimeout(() => this.#warnOfNoMonitor(), monitorWithinMs);
    void this.#connect();
    this.#untrap = onTrapped((trapped) => this.#take(trapped));
  }

  #take({ signal, at, times }: Trapped): void {
    this.#feed({ kind: 'signal', rule: this.#rule(signal), times, atTerminal }, at);
  }

  /** An error of qemu-trap's own: said, and survived, for QEMU still runs. */
  survive(error: unknown): void {
    if (isOfTreeWalk(error)) return;
    this.context.log({
      event: 'internal-error',
      level: 'error',
      message: `qemu-trap itself: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
    });
  }

  /** Does what QEMU does not depend on; what it throws is survived. */
  attempt(what: () => unknown): void {
    try {
      what();
    } catch (error) {
      this.survive(error);
    }
  }

  /** Settled when QEMU has gone, with every hook and what it had started. */
  async untilGone(): Promise<QemuExit> {
    const exit = await Promise.race([this.running.qemu.gone, this.#abandoned]);
    // What it said last is there for certain, and may tell how it ended.
    const { control } = this.running.qemu;
    if (control === null) this.#client.close();
    else readRest(control);
    await new Promise((resolve) => setImmediate(resolve));
    this.#feed({ kind: 'gone' });
    this.#over = true;
    this.#untrap();
    this.#freezeGuard.close();
    for (const observer of this.context.observers) this.attempt(() => observer.close());
    clearTimeout(this.#patience);
    clearInterval(this.#waking);
    if (this.#timer) clearTimeout(this.#timer);
    for (const hook of this.#hooks.values()) this.#endHook(hook);
    await within(
      lastHooksMs,
      Promise.all([...[...this.#hooks.values()].map((hook) => hook.cleared), ...this.#clearing]),
    );
    this.#hookMonitors?.close();
    this.#relay?.close();
    await within(lastPipesMs, Promise.resolve(this.#outputPipes?.close()));
    if (this.#hasAbandoned) return exit;
    const { config, log } = this.context;
    const { exit: last, killedWrapper } = await this.running.qemu.finish(config.killAfterMs);
    if (killedWrapper !== null) {
      const [wrapper = ''] = config.qemu;
      log({
        event: 'wrapper',
        level: 'warning',
        message: `${wrapper} (pid ${killedWrapper}) has not ended ${formatSeconds(config.killAfterMs)} after its QEMU: ended by SIGKILL`,
        facts: { wrapper },
      });
    }
    return last;
  }

  /** True where QEMU is left to the kernel, which holds it though it was killed. */
  get hasAbandoned(): boolean {
    return this.#hasAbandoned;
  }

  ending(exit: QemuExit): Ending {
    const { end, evidence } = this.#state;
    const action = end === null ? 'none' : end.killed && this.running.qemu.wasKilled ? 'kill' : end.action;
    const { stateFile } = this.context;
    return endingOf({
      ...exit,
      // Half a state is no state: what was written of it is of no use to anybody.
      evidence: this.#isSaving() ? { ...evidence, migrated: false } : evidence,
      started: this.#started,
      bypassesUs: this.running.qemu.bypassesUs,
      waitsForCont:
        this.running.saved !== null ||
        startsPaused(this.context.config.qemu) ||
        guestSource(this.context.config.qemu) === '-incoming',
      action,
      cause: action === 'none' ? null : (end?.cause ?? null),
      savedState: stateFile !== null && existsSync(stateFile.path),
      isStillThere: this.#hasAbandoned,
    });
  }

  /** The rule as it is now: a hook may have come or gone since the start. What is being served keeps its rule. */
  #rule(signal: SignalName): Rule {
    const { stop, runs } = this.#state;
    if (stop?.rule.signal === signal) return stop.rule;
    return runs.get(signal)?.rule ?? ruleFor(signal, this.context.book);
  }

  async #connect(): Promise<void> {
    try {
      await this.#client.ready;
      clearTimeout(this.#patience);
      for (const observer of this.context.observers) this.attempt(() => observer.warn?.(null));
      this.#started = true;
      this.attempt(() => this.#locateQemu());
      const { adoption } = this.running;
      if (adoption !== null && this.#resuming) {
        const runState = await queryRunState(this.#client);
        this.#resuming = isLoading(runState) || isPaused(runState);
      }
      if (adoption?.sharesMonitor) await this.#share();
      // What a hook needs, and may be had or not: the button is pressed without any of it.
      const { tap } = this.context;
      const monitors = tap === null ? this.running.monitors : await tap(this.running.monitors);
      this.attempt(() => (this.#hookMonitors = new HookConnections(monitors)));
      this.attempt(() => (this.#outputPipes = new OutputPipes(this.running.runDir.file)));
      // A QEMU that refuses its saved state is started again, and must not be taken for what a hook has left.
      if (!this.#resuming) this.attempt(markHooksToCome);
      await this.#enableMigrationEvents();
      const runState = await this.#queryRunState();
      if (adoption !== null) this.#tellAdoption(adoption, runState);
      this.#feed({ kind: 'monitor-up', runState });
      this.#tellReady();
      this.#warnOfUnknownCommands().catch((error: unknown) => error instanceof MonitorClosed || this.survive(error));
      if (adoption !== null)
        this.#inherit(adoption, runState).catch(
          (error: unknown) => error instanceof MonitorClosed || this.survive(error),
        );
      if (this.#resuming) await this.#resume();
    } catch (error) {
      // Where QEMU has gone, its end is handled where it is reaped.
      if (error instanceof MonitorClosed) return;
      if (!(error instanceof QmpError)) return this.survive(error);
      this.context.log({
        event: 'monitor-refused',
        level: 'error',
        message: `QEMU refuses to be spoken to on its control monitor (${error.desc}): the next shutdown can end it by SIGKILL only`,
      });
    }
  }

  /** A wrapper in front of QEMU may be what was started. */
  #locateQemu(): void {
    const { qemu, runDir, adoption } = this.running;
    const started = qemu.pid;
    const { config, log } = this.context;
    if (!qemu.locate()) {
      log({
        event: 'qemu-unknown',
        level: 'warning',
        message: `which process is QEMU cannot be told (/proc does not show it to this user): SIGKILL, where QEMU does not end otherwise, goes to what was started (pid ${started})`,
        facts: { pid: started },
      });
    }
    if (qemu.pid !== started || adoption !== null) {
      noteQemu(runDir, qemu.pid);
      // A wrapper that starts QEMU once more finds no monitors to make.
      rmSync(runDir.file(runFiles.monitorsConfig), { force: true });
    }
    noteStarted(runDir);
    if (adoption !== null || config.onDeath === 'keep' || runDir.leaves || qemu.isTied) return;
    runDir.leaves = true;
    const why =
      qemu.pid === started
        ? 'it has rights that we have not, which unties the two'
        : `a wrapper stands in front of it (pid ${started}; QEMU is ${qemu.pid}): have it exec QEMU`;
    log({
      event: 'no-pdeathsig',
      level: 'warning',
      message: `QEMU may outlive a SIGKILL of qemu-trap, as with --on-death keep: ${why}`,
      facts: { pid: qemu.pid },
    });
  }

  #warnOfNoMonitor(): void {
    const { qemu } = this.context.config;
    const waits = waitsForConnection(qemu);
    const why =
      waits === null
        ? 'does a wrapper before QEMU drop the words that come after its own ("$@")?'
        : `QEMU waits until somebody connects to ${waits}: write wait=off there`;
    const message = `QEMU has no monitor ${formatSeconds(monitorWithinMs)} after its start, and until it has, no signal reaches the guest: ${why}`;
    this.context.log({ event: 'no-monitor', level: 'warning', message, facts: { ms: monitorWithinMs } });
    for (const observer of this.context.observers) this.attempt(() => observer.warn?.(message));
  }

  /** A rule with a command that QEMU does not know does nothing of its own: better said now than at the signal. */
  async #warnOfUnknownCommands(): Promise<void> {
    const commands = userCommands(allRules(this.context.book));
    for (const command of await findUnknownCommands(this.#client, [...commands.keys()])) {
      const signal = commands.get(command) as SignalName;
      const shown = shownCommand(command);
      const { message, fix } = describeUnknownCommand(signal, shown);
      this.context.log({ event: 'unknown-command', level: 'warning', message, facts: { signal, command: shown, fix } });
    }
  }

  /** Has QEMU tell when a migration is complete; one that cannot is asked for its run state often enough. */
  async #enableMigrationEvents(): Promise<void> {
    try {
      await this.#client.execute('migrate-set-capabilities', { capabilities: [{ capability: 'events', state: true }] });
    } catch (error) {
      if (error instanceof MonitorClosed) throw error;
    }
  }

  /** Opens monitors of qemu-trap's own, where QEMU has but the one. */
  async #share(): Promise<void> {
    const { lateHooks, qmp, human } = this.running.monitors;
    const relay = new QmpServer(this.#client);
    this.#relay = relay;
    try {
      await relay.listen([lateHooks, qmp], human);
    } catch (error) {
      this.context.log({
        event: 'monitors-failed',
        level: 'error',
        message: `hooks get no monitor, for its sockets cannot be made (${errorText(error)}): the button is pressed without them`,
      });
    }
  }

  #tellAdoption({ ageMs, isOther }: Adoption, guest: string): void {
    const { pid } = this.running.qemu;
    this.context.log({
      event: 'takeover',
      level: 'info',
      facts: { pid, guest, age_ms: Math.round(ageMs), other_command: isOther },
      message: `QEMU taken over (pid ${pid}, there for ${formatSeconds(ageMs)}; its guest is ${guest})${isOther ? ': its command line is not the one asked for now, which counts from its next start on' : ''}`,
    });
  }

  /** Undoes what hooks of a qemu-trap that was killed have left half done. */
  async #inherit({ cleared }: Adoption, runState: string): Promise<void> {
    const { runDir } = this.running;
    if (isPaused(runState) && existsSync(runDir.file(runFiles.resuming))) {
      await this.#letGo().catch((error: unknown) => {
        if (!(error instanceof QmpError)) throw error;
        this.context.log({
          event: 'save-stuck',
          level: 'error',
          message: `the guest that was being resumed cannot go on: ${error.desc}`,
        });
      });
    }
    // The state is under its name, and QEMU was to go: a guest that went on now would spoil it.
    if (hasMigrated(runState) && this.context.stateFile !== null && existsSync(this.context.stateFile.path)) {
      this.context.log({
        event: 'saved',
        level: 'info',
        message: `the guest was saved by a qemu-trap that was killed (${this.context.stateFile.path}): telling QEMU to quit`,
        facts: { path: this.context.stateFile.path },
      });
      return void (await this.#client.execute('quit'));
    }
    const wasSaving = this.#isSaving();
    await cleared;
    // What has begun meanwhile is a hook's of this qemu-trap, and that one's to end.
    if (this.#over || this.#turns.size > 0) return;
    this.#freezeGuard.hookEnded('the hook that froze it was of a qemu-trap that was killed', 0);
    if (wasSaving && this.#isSaving()) await this.#abandonSave('of a qemu-trap that was killed');
  }

  /** Lets a guest go on that was loaded from a state which is gone now. */
  async #letGo(): Promise<void> {
    if (!startsPaused(this.context.config.qemu)) await this.#client.execute('cont');
    rmSync(this.running.runDir.file(runFiles.resuming), { force: true });
  }

  /** QEMU's run state, as the core is to know it. */
  async #queryRunState(): Promise<string> {
    const runState = await queryRunState(this.#client).catch((error: unknown) => {
      if (error instanceof QmpError) return unknownRunState;
      throw error;
    });
    // Loaded, but still to be let go: until then nothing of it is lost by an end.
    if (this.#resuming) return loadingRunState;
    // Written, but not yet under its name: QEMU must stay, because the guest may have to go on.
    if (hasMigrated(runState) && this.#isSaving()) return savingRunState;
    return runState;
  }

  #isSaving(): boolean {
    return this.context.stateFile !== null && existsSync(this.context.stateFile.part);
  }

  /** Has QEMU load the saved guest and lets it go on; before that, its state is taken out of its place. */
  async #resume(): Promise<void> {
    const { saved } = this.running;
    if (saved === null || !(await this.#load(saved))) return;
    while (isLoading(await queryRunState(this.#client)))
      await new Promise((resolve) => setTimeout(resolve, resumePollMs));
    if (this.#state.end !== null) return;
    this.attempt(() => writeFileSync(this.running.runDir.file(runFiles.resuming), '', { mode: 0o600 }));
    try {
      saved.setApart();
    } catch (error) {
      this.context.log({
        event: 'state-kept',
        level: 'error',
        message: `${saved.path}: cannot be removed (${errorText(error)}): remove it before the next start, for the guest it holds goes on now`,
        facts: { path: saved.path },
      });
    }
    this.#resuming = false;
    markHooksToCome();
    this.#releaseInherited();
    try {
      await this.#letGo();
    } catch (error) {
      if (!(error instanceof QmpError)) throw error;
      return this.#cannotGoOn(saved, error.desc);
    }
    this.attempt(() => saved.discard());
    this.context.log({
      event: 'resumed',
      level: 'info',
      message: `the guest goes on where it was saved (${saved.path})`,
      facts: { path: saved.path },
    });
    await this.#refreshRunState();
  }

  /** The guest is loaded, and QEMU refuses to let it run: its disk is another's, say. Nothing of it is lost. */
  #cannotGoOn(saved: SavedState, why: string): void {
    this.attempt(() => saved.putBack());
    this.attempt(() => rmSync(this.running.runDir.file(runFiles.resuming), { force: true }));
    this.resumeFailure = why;
    void this.#client.executeLast('quit').catch(() => undefined);
  }

  /**
   * Has QEMU load the saved guest.
   * @returns false where it refuses to: then it goes
   */
  async #load({ path }: SavedState): Promise<boolean> {
    // A qemu-trap that was killed may have asked already.
    const { status } = (await this.#client.execute('query-migrate')) as { status?: string };
    if (status !== undefined || !isLoading(await queryRunState(this.#client))) return true;
    let refusal = '';
    for (const uri of this.running.incoming) {
      try {
        await this.#client.execute('migrate-incoming', { uri });
        return true;
      } catch (error) {
        if (!(error instanceof QmpError)) throw error;
        refusal = error.desc;
      }
    }
    this.#isStateRefused = true;
    this.context.log({
      event: 'state-refused',
      level: 'warning',
      message: `saved state ${path}: QEMU does not load it: ${refusal}`,
      facts: { path },
    });
    void this.#client.executeLast('quit').catch(() => undefined);
    return false;
  }

  #releaseInherited(): void {
    releaseInherited(this.context.ready?.withheld ?? null);
  }

  /** True where QEMU said no to what it was asked, before its guest ran. */
  hasFailed(exit: QemuExit): boolean {
    return (
      (!this.#started || this.#resuming) &&
      this.#state.stop === null &&
      this.#state.end === null &&
      (exit.signal !== null || (exit.code ?? 0) !== 0)
    );
  }

  /** True where QEMU ended because it could not load what it was to resume. */
  hasRefused(exit: QemuExit): boolean {
    return this.#isStateRefused || (this.#resuming && this.hasFailed(exit));
  }

  #tellReady(): void {
    if (this.#ready || !isUp(this.#state.evidence.runState)) return;
    this.#ready = true;
    this.context.log({ event: 'ready', level: 'info', message: 'the VM runs' });
    this.context.manager.ready();
    const { ready, log } = this.context;
    ready?.tell((why) =>
      log({
        event: 'ready-failed',
        level: 'warning',
        message: `--ready-fd ${ready.number}: the newline cannot be written: ${why}`,
      }),
    );
  }

  /** The control monitor has closed: where libuv has lost the SIGCHLD to a flood of signals, it is asked to look again. */
  async #reap(): Promise<void> {
    const gone = this.running.qemu.gone.then(() => true);
    for (let tries = 0; tries < reapTries; tries++) {
      if ((await within(reapEveryMs, gone)) === true || this.#over) return;
      this.running.qemu.reap();
    }
    if (!this.#over) {
      this.context.log({
        event: 'monitor-lost',
        level: 'error',
        message:
          'the control monitor has closed while what was started runs on (QEMU, or a wrapper of it): the next shutdown can end it by SIGKILL only',
      });
    }
  }

  #feed(input: Input, at = performance.now()): void {
    if (this.#over) return;
    const { state, actions } = step(this.#state, input, at);
    this.#state = state;
    // Told to quit, or going: what a hook leaves unsaid is not waited for.
    this.#hookMonitors?.hold(state.end !== null);
    // What is done comes before all else: before what is remembered of it, and the words for it.
    for (const action of actions) if (action.do !== 'tell') this.attempt(() => this.#perform(action));
    if (state.stop === null) this.shutdown = null;
    else if (state.stop.since !== this.shutdown?.since) {
      const { rule, since } = state.stop;
      this.shutdown = { signal: rule.signal, since, timeoutMs: rule.timeoutMs };
      this.#freezeGuard.stopBegins();
      this.attempt(() => this.#wake());
    }
    if (state.stop === null && state.end === null) {
      clearInterval(this.#waking);
      this.#waking = undefined;
    } else {
      // SIGSTOP takes its time, and may come at any.
      this.#waking ??= setInterval(() => this.attempt(() => this.#wake()), wakeEveryMs);
    }
    for (const action of actions) if (action.do === 'tell') this.context.log(() => describeNotice(action.notice));
    for (const observer of this.context.observers) this.attempt(() => observer.follow(state));
    this.context.manager.follow(state, state.stop !== null || this.#resuming);
    this.#arm();
  }

  #arm(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    const next = nextTick(this.#state);
    if (next === Infinity) return;
    const delay = Math.min(Math.max(1, Math.ceil(next - performance.now())), longestTimeoutMs);
    this.#timer = setTimeout(() => this.#feed({ kind: 'tick' }), delay);
  }

  #perform(action: Exclude<Action, { do: 'tell' }>): void {
    switch (action.do) {
      case 'run-hook':
        this.#runHook(action.rule, action.deadline).catch((error: unknown) => {
          // The chain goes on, whatever it was.
          this.survive(error);
          const { signal, script } = action.rule;
          this.#feed({
            kind: 'hook-end',
            signal,
            outcome: this.#hookFailed(signal, script?.path ?? '', `cannot be run (${errorText(error)})`),
          });
        });
        return;
      case 'end-hook':
        return this.#endHook(this.#hooks.get(action.signal));
      case 'ask-run-state':
        return void this.#refreshRunState();
      case 'silence-hooks':
        return this.#hookMonitors?.silence();
      case 'press':
        this.#wake();
        return void this.#command(
          action.signal,
          'system_powerdown',
          () => pressPowerButton(this.#client, action.isRunning),
          true,
        );
      case 'let-go-on':
        return void this.#command(action.signal, 'cont', () => letGoOn(this.#client), true);
      case 'command':
        return void this.#command(
          action.signal,
          action.command,
          () => runMonitorCommand(this.#client, action.command),
          false,
        );
      case 'quit':
        this.#wake();
        // Where QEMU is still starting, quit waits for its monitor; SIGKILL after the time for it does not.
        this.#client.ready.then(() => this.#client.executeLast('quit')).catch(() => undefined);
        return;
      case 'kill':
        return this.running.qemu.kill();
      case 'abandon':
        this.#hasAbandoned = true;
        return this.#abandon({ code: null, signal: 'SIGKILL' });
    }
  }

  /** A QEMU that somebody has stopped hears neither its button nor `quit`. */
  #wake(): void {
    const { qemu } = this.running;
    if (!qemu.wake()) return;
    this.context.log({
      event: 'woken',
      level: 'warning',
      message: `QEMU was stopped by a signal (SIGSTOP): it is told to go on (SIGCONT), to hear what comes (pid ${qemu.pid})`,
      facts: { pid: qemu.pid },
    });
  }

  async #command(
    signal: SignalName,
    command: string,
    run: () => Promise<CommandResult>,
    isPress: boolean,
  ): Promise<void> {
    let result: CommandResult;
    try {
      result = await run();
    } catch {
      return; // QEMU has gone.
    }
    const shown = shownCommand(command);
    const output = result.output === '' ? '' : `: ${result.output}`;
    this.context.log({
      event: 'command',
      level: result.ok ? 'info' : 'warning',
      message: `${signal}: ${shown} ${result.ok ? 'done' : 'failed'}${result.isGuess ? ', as far as the human monitor says' : ''}${output}`,
      facts: { signal, command: shown, ok: result.ok, output: result.output },
    });
    this.#feed({ kind: 'command-end', signal, ok: result.ok, isPress });
  }

  /**
   * Runs what the rule names: one hook, or the steps of a directory, one after the other until one fails. The first is
   * started before this returns, where all is ready for it.
   */
  async #runHook({ signal, script }: Rule, deadline: number): Promise<void> {
    if (script === null) return;
    // One that was told to end may take longer to do so than the next run of the same signal to begin.
    const turn = {};
    this.#turns.set(signal, turn);
    const superseded = (): boolean => this.#over || this.#turns.get(signal) !== turn;

    let outcome: HookOutcome = { kind: 'done' };
    const steps = stepsOf(script);
    if ('fault' in steps) {
      await whatLedHereIsTold;
      outcome = this.#hookFailed(signal, script.path, steps.fault);
    } else {
      for (const file of steps.files) {
        // If its time was up before it began, the core waits for no outcome.
        const tooLate = (): boolean => superseded() || stageOf(this.#state, signal) !== 'script';
        const next = await this.#runFile(signal, file, { deadline, tooLate, isLast: file === steps.files.at(-1) });
        if (next === null || superseded()) return;
        outcome = next;
        if (outcome.kind !== 'done') break;
      }
    }
    this.#feed({ kind: 'hook-end', signal, outcome });
  }

  /** @param ms how long it ran; `null` where it did not */
  #hookFailed(signal: SignalName, hook: string, why: string, ms: number | null = null): HookOutcome {
    this.context.log({
      event: 'hook-end',
      level: 'warning',
      message: `${signal}: hook ${hook} ${why}`,
      facts: { signal, hook, outcome: 'failed', why, ms },
    });
    return { kind: 'failed', why };
  }

  /**
   * Runs one file, to its end.
   * @returns `null` where it was too late, or nobody waits for the outcome any more
   */
  async #runFile(
    signal: SignalName,
    file: HookFile,
    { deadline, tooLate, isLast }: StepOfChain,
  ): Promise<HookOutcome | null> {
    const hook = file.path;
    const startedAt = performance.now();
    const monitor = this.#hookMonitors?.takeReady(signal) ?? (await this.#hookMonitors?.take(signal)) ?? null;
    const output =
      monitor === null ? null : (this.#outputPipes?.takeReady() ?? (await this.#outputPipes?.take()) ?? null);
    if (tooLate()) {
      if (output !== null) this.#outputPipes?.putBack(output);
      if (monitor !== null) this.#hookMonitors?.putBack(signal, monitor);
      return null;
    }
    if (monitor === null) return this.#hookFailed(signal, hook, 'cannot be run: QEMU gives it no monitor');

    const run = runHook({
      ...this.#callOf(signal, file, deadline),
      monitor,
      output,
      onOutput: (chunk) => this.context.log.hookOutput(hook, chunk),
    });
    this.#hooks.set(signal, run);
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
    this.#feed({ kind: 'hook-exit', signal });
    this.#tellHookEnd(signal, hook, run, outcome, Math.round(performance.now() - startedAt));
    const stopping = this.#state.stop === null ? null : toShutDown;
    this.#freezeGuard.hookEnded(outcome.kind === 'done' ? stopping : 'the hook that froze it has failed', deadline);
    const givenBack = this.#hookMonitors?.giveBack(signal, monitor, isLast && this.#state.stop?.powerdown === true);
    if (isLast && outcome.kind === 'done')
      void givenBack
        ?.then((error) => this.#tellNotPressed(signal, hook, error))
        .catch((error: unknown) => this.survive(error));
    if (this.#over) return null;
    if (this.#isSaving()) await within(abandonWithinMs, this.#abandonSave(hook));
    // Not every change of a guest that stands still is an event: a hook may have made it run, or migrated it.
    else if (!isRunning(this.#state.evidence.runState)) await within(askWithinMs, this.#refreshRunState());
    return this.#over || this.#hooks.get(signal) !== run ? null : outcome;
  }

  #endHook(run: HookRun | undefined): void {
    if (run === undefined) return;
    this.#cut.add(run);
    run.end();
  }

  #tellHookEnd(signal: SignalName, hook: string, run: HookRun, outcome: HookOutcome, ms: number): void {
    if (outcome.kind === 'failed' && !this.#cut.has(run))
      return void this.#hookFailed(signal, hook, outcome.why, run.pid === undefined ? null : ms);
    // As it is with one that stays to press again, and ends with its guest.
    const how = outcome.kind === 'failed' ? 'ended' : outcome.kind;
    const words = { done: 'ended well', 'not-now': 'says not now', ended: 'was ended' }[how];
    this.context.log({
      event: 'hook-end',
      level: 'info',
      message: `${signal}: hook ${hook} ${words} after ${formatSeconds(ms)}${how === 'ended' ? (guestEnded(this.#state.evidence) ? ', with its guest' : ', for its time was up or QEMU has gone') : ''}`,
      facts: { signal, hook, outcome: how, ms },
    });
  }

  /** Of a hook that ended well, and whose guest has not been asked to go as far as QEMU says: better told now than at the deadline. */
  async #tellNotPressed(signal: SignalName, hook: string, lastError: string | null): Promise<void> {
    const { stop } = this.#state;
    if (this.#over || stop === null || stop.rule.signal !== signal) return;
    // What QEMU had to say before its answer to the hook has been read then.
    await this.#refreshRunState();
    const { evidence, end, stop: now } = this.#state;
    if (
      this.#over ||
      now?.since !== stop.since ||
      now.powerdown ||
      end !== null ||
      isExiting(evidence) ||
      guestEnded(evidence) ||
      !isRunning(evidence.runState)
    )
      return;
    const then =
      stop.rule.monitorCommand === null
        ? 'nothing is asked of the guest before the deadline'
        : 'qemu-trap does so shortly before the deadline, if the guest is still there';
    this.context.log({
      event: 'not-pressed',
      level: lastError === null ? 'info' : 'warning',
      facts: { signal, hook, error: lastError },
      message: `${signal}: hook ${hook} has not pressed the power button${lastError === null ? '' : ` (QEMU's last error: ${lastError})`}: ${then}`,
    });
  }

  #callOf(
    signal: SignalName,
    file: HookFile,
    deadline: number,
  ): Pick<HookCall, 'file' | 'argument' | 'inherited' | 'facts'> {
    const { running } = this;
    const { book, config } = this.context;
    return {
      file,
      argument: signal,
      inherited: this.#inherited,
      facts: {
        occasion: signalOccasion(signal, running.qemu.pid, running.monitors),
        vm: this.context.vm,
        hooksDir: book.dirs.user ?? book.dirs.bundled,
        libDir: libDir(book.dirs),
        leftMs: deadline - performance.now(),
        press: config.press,
        agent: config.agent,
        runDir: running.runDir.path,
        stateFile: this.context.stateFile?.path ?? null,
      },
    };
  }

  async #abandonSave(hook: string): Promise<void> {
    if (this.context.stateFile === null) return;
    this.context.log({
      event: 'save-abandoned',
      level: 'warning',
      message: `hook ${hook} has ended with a guest half saved: the guest goes on`,
      facts: { hook },
    });
    try {
      await abandonSave(this.context.stateFile, this.#client);
    } catch (error) {
      if (error instanceof MonitorClosed) return;
      this.context.log({
        event: 'save-stuck',
        level: 'error',
        message: `the guest that was half saved cannot go on: ${errorText(error)}`,
      });
    }
    await this.#refreshRunState();
  }

  #onEvent(happened: QmpEvent): void {
    this.#relay?.event(happened);
    const { event } = happened;
    if (event === 'POWERDOWN') {
      this.context.log({ event: 'powerdown', level: 'info', message: 'the power button was pressed' });
      this.#feed({ kind: 'powerdown' });
      return;
    }
    const told = readEvent(happened);
    if (told === null) {
      if (runStateEvents.includes(event)) void this.#refreshRunState();
      return;
    }
    if (told.event === 'SHUTDOWN') {
      this.context.log({
        event: 'guest-shutdown',
        level: 'info',
        message: `QEMU goes: ${told.reason}`,
        facts: { reason: told.reason },
      });
    }
    this.#feed({ kind: 'qemu', event: told });
    const exits = isExiting(this.#state.evidence);
    this.#client.hold(exits);
    if (exits) this.running.qemu.look(this.context.config.killAfterMs);
    if (!exits && runStateEvents.includes(event)) void this.#refreshRunState();
  }

  async #refreshRunState(): Promise<void> {
    try {
      this.#feed({ kind: 'run-state', runState: await this.#queryRunState() });
      this.#tellReady();
    } catch {
      // QEMU has gone.
    }
  }
}
