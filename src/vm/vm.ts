import type { Effect } from '../dispatch/messages.js';
import { type State, chainOf } from '../dispatch/state.js';
import { FreezeGuard } from '../guest-agent/freeze-guard.js';
import type { HookRunner } from '../hook/runner.js';
import { ruleFor } from '../rules/resolve.js';
import type { Rule } from '../rules/rule.js';
import { runFiles } from '../run-dir/files.js';
import type { SignalName } from '../signals/names.js';
import { onTrapped } from '../signals/trap.js';
import { readRest } from '../system/node-internals.js';
import { hearsCtrlC } from '../system/terminal.js';
import { BringUp } from './bring-up.js';
import { type FinishedRun, concludeRun } from './conclude.js';
import type { RunContext, RunningQemu, ShutdownRequest } from './context.js';
import { ControlMonitor } from './control-monitor.js';
import { Dispatcher } from './dispatcher.js';
import { EventHooks } from './event-hooks.js';
import { SavedGuest } from './saved-guest.js';
import { describeNotice } from './log-lines.js';
import { removeUnfinished } from './saved-state.js';
import { SignalHooks } from './signal-hooks.js';
import { Survival } from './survival.js';
import { Waker } from './waker.js';
import { warmUp } from './warm-up.js';
import { warnOfWrapperThatStays } from './warnings.js';
import type { QemuExit } from '../qemu/qemu.js';
import { keepSpareDescriptor } from '../system/spare-descriptor.js';

/** One run of QEMU: wires the parts together. */
export class Vm {
  /** The shutdown that is under way. */
  shutdown: ShutdownRequest | null = null;
  /** When QEMU was started, on the clock of `performance.now()`. */
  readonly startedAt: number;

  readonly survival: Survival;
  readonly #dispatcher: Dispatcher;
  readonly #monitor: ControlMonitor;
  readonly #savedGuest: SavedGuest;
  readonly #hooks: SignalHooks;
  readonly #eventHooks: EventHooks;
  readonly #freezeGuard: FreezeGuard;
  readonly #untrap: () => void;
  readonly #bringUp: BringUp;
  /** Looks for a QEMU that was stopped, as long as it is to exit. */
  readonly #waker: Waker;
  #hasAbandoned = false;
  #abandon!: (exit: QemuExit) => void;
  readonly #abandoned = new Promise<QemuExit>((resolve) => (this.#abandon = resolve));

  constructor(
    private readonly context: RunContext,
    private readonly running: RunningQemu,
    private readonly runner: HookRunner,
  ) {
    const { config, log } = context;
    this.survival = new Survival(log);
    this.#waker = new Waker(running.qemu, log, this.survival);
    this.#savedGuest = new SavedGuest(context, running, this.survival);
    this.#freezeGuard = new FreezeGuard(config.agent, running.runDir.file(runFiles.frozen), log);
    const { killAfterMs, busyTimeoutMs, pressGaps, keepsPressGaps: keepsGaps } = config;
    this.#dispatcher = new Dispatcher(
      { killAfterMs, busyTimeoutMs, pressGaps, keepsGaps },
      {
        prepare: ({ termination }) => {
          this.#hooks.hold(termination !== null);
          this.#eventHooks.hold(termination !== null);
        },
        perform: (effect) => this.#perform(effect),
        performed: (state) => this.#followShutdown(state),
        notice: (notice) => log(() => describeNotice(notice)),
        show: (state) => this.#show(state),
      },
      this.survival,
    );
    this.#monitor = new ControlMonitor(
      context,
      running,
      this.#dispatcher,
      (runState) => this.#savedGuest.read(runState),
      () => this.#bringUp.tellIfReady(),
      (event) => this.survival.attempt(() => this.#eventHooks.onEvent(event)),
    );
    this.#eventHooks = new EventHooks(context, running, {
      runner,
      survival: this.survival,
    });
    this.#hooks = new SignalHooks(context, running, {
      runner,
      dispatcher: this.#dispatcher,
      monitor: this.#monitor,
      savedGuest: this.#savedGuest,
      freezeGuard: this.#freezeGuard,
      survival: this.survival,
    });
    keepSpareDescriptor();
    runner.groups.qemu = () => running.qemu.pid;
    this.startedAt = performance.now() - (running.adoption?.ageMs ?? 0);
    this.#bringUp = new BringUp(context, running, {
      startedAt: this.startedAt,
      dispatcher: this.#dispatcher,
      monitor: this.#monitor,
      savedGuest: this.#savedGuest,
      hooks: this.#hooks,
      eventHooks: this.#eventHooks,
      freezeGuard: this.#freezeGuard,
      survival: this.survival,
      whenReady: () => this.#makeReadyForSignals(),
    });
    this.#untrap = onTrapped(({ signal, at, times }) => {
      const atTerminal = signal === 'SIGINT' && hearsCtrlC();
      this.#dispatcher.feed({ kind: 'signal', rule: this.#ruleOf(signal), times, atTerminal }, at);
    });
  }

  /** Settled when QEMU has exited, and every hook with what it had started. */
  async untilGone(): Promise<FinishedRun> {
    const { qemu } = this.running;
    const { observers } = this.context;
    const atFirst = await Promise.race([qemu.gone, this.#abandoned]);
    const exitedAt = performance.now();
    // What it said last is there for certain, and may tell how it ended.
    if (qemu.control === null) this.#monitor.client.close();
    else readRest(qemu.control);
    await new Promise((resolve) => setImmediate(resolve));
    this.#dispatcher.feed({ kind: 'gone' });
    this.#dispatcher.close();
    this.#untrap();
    this.#freezeGuard.close();
    for (const observer of observers) this.survival.attempt(() => observer.close());
    this.#bringUp.stop();
    this.#waker.stop();
    await Promise.all([this.#hooks.close(), this.#eventHooks.finish()]);
    await this.runner.release();
    this.#monitor.close();
    const isStillThere = this.#hasAbandoned;
    const exit = isStillThere ? atFirst : await this.#finish();
    const finished = concludeRun(this.context, this.running, this.#dispatcher.state, {
      exit,
      started: this.#bringUp.hasStarted,
      savedGuest: this.#savedGuest,
      isStillThere,
      overdueHook: this.shutdown === null ? null : this.#hooks.overdueHook(this.shutdown.signal),
      exitedAt,
    });
    if (this.context.stateFile !== null && !isStillThere) removeUnfinished(this.context.stateFile);
    return finished;
  }

  /** The wrapper of a QEMU that has exited has its time to exit, too. */
  async #finish(): Promise<QemuExit> {
    const { exit, killedWrapper } = await this.running.qemu.finish(this.context.config.killAfterMs);
    if (killedWrapper !== null) warnOfWrapperThatStays(this.context, killedWrapper);
    return exit;
  }

  /** The rule as it is now: a hook may have come or gone since the start. What is being served keeps its rule. */
  #ruleOf(signal: SignalName): Rule {
    return chainOf(this.#dispatcher.state, signal)?.rule ?? ruleFor(signal, this.context.book);
  }

  #perform(effect: Effect): void {
    switch (effect.do) {
      case 'run-hook':
        return this.#hooks.run(effect.signal, effect.script, effect.deadline);
      case 'stop-hook':
        return this.#hooks.stop(effect.signal, effect.why);
      case 'ask-run-state':
        return void this.#monitor.refreshRunState();
      case 'silence-hooks':
        return this.#hooks.silence();
      case 'press':
        this.#waker.wake();
        return void this.#monitor.press(effect.signal, effect.isRunning);
      case 'read-button':
        return void this.#monitor.readButton();
      case 'look-up-button':
        return void this.#monitor.lookUpButton();
      case 'read-disks':
        return void this.#monitor.readDisks();
      case 'let-go-on':
        return void this.#monitor.letGoOn(effect.signal, effect.isAgain);
      case 'command':
        return void this.#monitor.run(effect.signal, effect.line);
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

  #followShutdown({ shutdown, termination }: State): void {
    if (shutdown === null) {
      if (this.shutdown !== null) setImmediate(() => this.#waitForHooks());
      this.shutdown = null;
    } else if (shutdown.since !== this.shutdown?.since) {
      const { rule, since } = shutdown;
      setImmediate(() => this.#waitForHooks());
      this.shutdown = { signal: rule.signal, since, timeoutMs: rule.timeoutMs };
      this.#freezeGuard.stopBegins();
      this.survival.attempt(() => this.#waker.wake());
    }
    if (shutdown === null && termination === null) this.#waker.stop();
    else this.#waker.start();
  }

  #show(state: State): void {
    const { observers, manager } = this.context;
    for (const observer of observers) this.survival.attempt(() => observer.follow(state));
    manager.follow(state, state.shutdown !== null || this.#savedGuest.isResuming);
  }

  #makeReadyForSignals(): void {
    this.survival.attempt(() => warmUp(this.context.book, this.#dispatcher.state.limits));
    this.#waitForHooks();
  }

  /** While nothing else is to be done: it takes longer than a signal may. */
  #waitForHooks(): void {
    this.survival.attempt(() => {
      if (this.#dispatcher.isClosed) return;
      if (this.shutdown === null) this.runner.wait();
      else this.runner.stopWaiting();
    });
  }
}
