import { existsSync } from 'node:fs';
import type { State } from '../dispatch/state.js';
import { FreezeGuard } from '../guest-agent/freeze-guard.js';
import { markHooksToCome } from '../hook/process-mark.js';
import { endingOf, type Ending } from '../outcome/ending.js';
import { isUp } from '../outcome/run-state.js';
import { guestSource, startsPaused } from '../qemu/argv.js';
import { queryRunState } from '../qemu/power-button.js';
import { MonitorClosed, QmpError } from '../qmp/messages.js';
import { ruleFor } from '../rules/resolve.js';
import type { Rule } from '../rules/rule.js';
import { runFiles } from '../run-dir/files.js';
import type { SignalName } from '../signals/names.js';
import { onTrapped } from '../signals/trap.js';
import { readRest } from '../system/node-internals.js';
import { keepSpareDescriptor } from '../system/processes.js';
import { atTerminal } from '../system/terminal.js';
import { tellAdoption, undoLeftovers } from './adoption.js';
import type { RunContext, RunningQemu, ShutdownRequest } from './context.js';
import { ControlMonitor } from './control-monitor.js';
import { Dispatcher, type Effect } from './dispatcher.js';
import { SavedGuest } from './guest-memory.js';
import { locateQemu } from './locate-qemu.js';
import { describeNotice } from './log-lines.js';
import { SignalHooks } from './signal-hooks.js';
import { Survival } from './survival.js';
import { Waker } from './waker.js';
import { tellReady } from './tell-ready.js';
import { monitorWithinMs, warnOfNoMonitor, warnOfUnknownCommands, warnOfWrapperThatStays } from './warnings.js';
import type { QemuExit } from '../qemu/qemu.js';

/** One run of QEMU: wires the parts together. */
export class Vm {
  /** The shutdown that is under way. */
  shutdown: ShutdownRequest | null = null;

  readonly survival: Survival;
  readonly #dispatcher: Dispatcher;
  readonly #monitor: ControlMonitor;
  readonly #savedGuest: SavedGuest;
  readonly #hooks: SignalHooks;
  readonly #freezeGuard: FreezeGuard;
  readonly #untrap: () => void;
  /** How long the monitor has to come up, before a line says that it has not. */
  readonly #patience: NodeJS.Timeout;
  /** Looks for a QEMU that was stopped, as long as it is to exit. */
  readonly #waker: Waker;
  #started: boolean;
  #isReady = false;
  #hasAbandoned = false;
  #abandon!: (exit: QemuExit) => void;
  readonly #abandoned = new Promise<QemuExit>((resolve) => (this.#abandon = resolve));

  constructor(
    private readonly context: RunContext,
    private readonly running: RunningQemu,
  ) {
    const { config, log } = context;
    this.survival = new Survival(log);
    this.#waker = new Waker(running.qemu, log, this.survival);
    this.#savedGuest = new SavedGuest(context, running, this.survival);
    this.#freezeGuard = new FreezeGuard(config.agent, running.runDir.file(runFiles.frozen), log);
    const limits = { killAfterMs: config.killAfterMs, pressGaps: config.pressGaps };
    this.#dispatcher = new Dispatcher(
      limits,
      {
        prepare: ({ end }) => this.#hooks.hold(end !== null),
        perform: (effect) => this.#perform(effect),
        performed: (state) => this.#followShutdown(state),
        notice: (notice) => {
          const defaultAction = this.#dispatcher.state.stop?.rule.defaultAction;
          log(() => describeNotice(notice, defaultAction));
        },
        show: (state) => this.#show(state),
      },
      this.survival,
    );
    this.#monitor = new ControlMonitor(
      context,
      running,
      this.#dispatcher,
      (runState) => this.#savedGuest.read(runState),
      () => this.#tellReady(),
    );
    this.#hooks = new SignalHooks(context, running, {
      dispatcher: this.#dispatcher,
      monitor: this.#monitor,
      savedGuest: this.#savedGuest,
      freezeGuard: this.#freezeGuard,
      survival: this.survival,
    });
    keepSpareDescriptor();
    // It has run before, whatever it says now.
    this.#started = running.adoption !== null;
    this.#patience = setTimeout(() => this.#warnObservers(warnOfNoMonitor(context)), monitorWithinMs);
    void this.#connect();
    this.#untrap = onTrapped(({ signal, at, times }) => {
      this.#dispatcher.feed({ kind: 'signal', rule: this.#ruleOf(signal), times, atTerminal }, at);
    });
  }

  /** Settled when QEMU has gone, with every hook and what it had started. */
  async untilGone(): Promise<QemuExit> {
    const { qemu } = this.running;
    const { config, observers } = this.context;
    const exit = await Promise.race([qemu.gone, this.#abandoned]);
    // What it said last is there for certain, and may tell how it ended.
    if (qemu.control === null) this.#monitor.client.close();
    else readRest(qemu.control);
    await new Promise((resolve) => setImmediate(resolve));
    this.#dispatcher.feed({ kind: 'gone' });
    this.#dispatcher.close();
    this.#untrap();
    this.#freezeGuard.close();
    for (const observer of observers) this.survival.attempt(() => observer.close());
    clearTimeout(this.#patience);
    this.#waker.stop();
    await this.#hooks.close();
    this.#monitor.close();
    if (this.#hasAbandoned) return exit;
    const { exit: last, killedWrapper } = await qemu.finish(config.killAfterMs);
    if (killedWrapper !== null) warnOfWrapperThatStays(this.context, killedWrapper);
    return last;
  }

  /** QEMU is left to the kernel, which holds it though it was killed. */
  get hasAbandoned(): boolean {
    return this.#hasAbandoned;
  }

  /** Why QEMU did not let a guest run that it had loaded. */
  get resumeFailure(): string | null {
    return this.#savedGuest.resumeFailure;
  }

  ending(exit: QemuExit): Ending {
    const { end, evidence } = this.#dispatcher.state;
    const { config, stateFile } = this.context;
    const { qemu, saved } = this.running;
    const action = end === null ? 'none' : end.killed && qemu.wasKilled ? 'kill' : end.action;
    return endingOf({
      ...exit,
      // Half a state is no state: what was written of it is of no use to anybody.
      evidence: this.#savedGuest.isSaving() ? { ...evidence, migrated: false } : evidence,
      started: this.#started,
      bypassesUs: qemu.bypassesUs,
      waitsForCont: saved !== null || startsPaused(config.qemu) || guestSource(config.qemu) === '-incoming',
      action,
      cause: action === 'none' ? null : (end?.cause ?? null),
      savedState: stateFile !== null && existsSync(stateFile.path),
      isStillThere: this.#hasAbandoned,
    });
  }

  /** QEMU said no to what it was asked, before its guest ran. */
  hasFailed(exit: QemuExit): boolean {
    const { stop, end } = this.#dispatcher.state;
    const ranNoGuest = !this.#started || this.#savedGuest.isResuming;
    return ranNoGuest && stop === null && end === null && (exit.signal !== null || (exit.code ?? 0) !== 0);
  }

  /** QEMU exited because it could not load what it was to resume. */
  hasRefused(exit: QemuExit): boolean {
    return this.#savedGuest.isRefused || (this.#savedGuest.isResuming && this.hasFailed(exit));
  }

  /** The rule as it is now: a hook may have come or gone since the start. What is being served keeps its rule. */
  #ruleOf(signal: SignalName): Rule {
    const { stop, runs } = this.#dispatcher.state;
    if (stop?.rule.signal === signal) return stop.rule;
    return runs.get(signal)?.rule ?? ruleFor(signal, this.context.book);
  }

  async #connect(): Promise<void> {
    try {
      await this.#monitor.client.ready;
      clearTimeout(this.#patience);
      this.#warnObservers(null);
      this.#started = true;
      this.survival.attempt(() => locateQemu(this.context, this.running));
      await this.#serve();
    } catch (error) {
      // If QEMU has gone, its end is handled where it is reaped.
      if (error instanceof MonitorClosed) return;
      if (!(error instanceof QmpError)) return this.survival.survive(error);
      this.context.log({
        event: 'monitor-refused',
        level: 'error',
        message: `QEMU does not accept commands on its control monitor (${error.desc}); the next shutdown can only kill it (SIGKILL)`,
      });
    }
  }

  /** From the first answer of the monitor on. */
  async #serve(): Promise<void> {
    const { context, running } = this;
    const { adoption } = running;
    const [monitor, savedGuest] = [this.#monitor, this.#savedGuest];
    if (adoption !== null && savedGuest.isResuming) savedGuest.wasFoundIn(await queryRunState(monitor.client));
    if (adoption?.sharesMonitor) await monitor.share();
    this.#hooks.prepare(context.tap === null ? running.monitors : await context.tap(running.monitors));
    // A QEMU that refuses its saved state is started again, and must not be taken for what a hook has left.
    if (!savedGuest.isResuming) this.survival.attempt(markHooksToCome);
    await monitor.enableMigrationEvents();
    const runState = await monitor.queryRunState();
    if (adoption !== null) tellAdoption(context, running, adoption, runState);
    this.#dispatcher.feed({ kind: 'monitor-up', runState });
    this.#tellReady();
    const survive = (error: unknown): unknown => error instanceof MonitorClosed || this.survival.survive(error);
    warnOfUnknownCommands(context, monitor).catch(survive);
    if (adoption !== null) {
      const isUntouched = (): boolean => !this.#dispatcher.isClosed && this.#hooks.isUntouched;
      const heir = { context, monitor, savedGuest, freezeGuard: this.#freezeGuard, isUntouched };
      undoLeftovers(adoption, runState, heir).catch(survive);
    }
    if (savedGuest.isResuming) await savedGuest.resume(monitor, () => this.#dispatcher.state.end === null);
  }

  #perform(effect: Effect): void {
    switch (effect.do) {
      case 'run-hook':
        return this.#hooks.run(effect.rule, effect.deadline);
      case 'end-hook':
        return this.#hooks.end(effect.signal);
      case 'ask-run-state':
        return void this.#monitor.refreshRunState();
      case 'silence-hooks':
        return this.#hooks.silence();
      case 'press':
        this.#waker.wake();
        return void this.#monitor.press(effect.signal, effect.isRunning);
      case 'let-go-on':
        return void this.#monitor.letGoOn(effect.signal);
      case 'command':
        return void this.#monitor.run(effect.signal, effect.command);
      case 'quit':
        this.#waker.wake();
        return this.#monitor.quit();
      case 'kill':
        return this.running.qemu.kill();
      case 'abandon':
        this.#hasAbandoned = true;
        return this.#abandon({ code: null, signal: 'SIGKILL' });
    }
  }

  #followShutdown({ stop, end }: State): void {
    if (stop === null) this.shutdown = null;
    else if (stop.since !== this.shutdown?.since) {
      const { rule, since } = stop;
      this.shutdown = { signal: rule.signal, since, timeoutMs: rule.timeoutMs };
      this.#freezeGuard.stopBegins();
      this.survival.attempt(() => this.#waker.wake());
    }
    if (stop === null && end === null) this.#waker.stop();
    else this.#waker.start();
  }

  #show(state: State): void {
    const { observers, manager } = this.context;
    for (const observer of observers) this.survival.attempt(() => observer.follow(state));
    manager.follow(state, state.stop !== null || this.#savedGuest.isResuming);
  }

  #warnObservers(warning: string | null): void {
    for (const observer of this.context.observers) this.survival.attempt(() => observer.warn?.(warning));
  }

  #tellReady(): void {
    if (this.#isReady || !isUp(this.#dispatcher.state.evidence.runState)) return;
    this.#isReady = true;
    tellReady(this.context);
  }
}
