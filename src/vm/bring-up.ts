import type { FreezeGuard } from '../guest-agent/freeze-guard.js';
import { isUp } from '../outcome/run-state.js';
import { queryRunState } from '../qemu/power-button.js';
import { MonitorClosed, QmpError } from '../qmp/messages.js';
import { startTimer, type Timer } from '../system/timer.js';
import { tellAdoption, undoLeftovers } from './adoption.js';
import type { RunContext, RunningQemu } from './context.js';
import type { ControlMonitor } from './control-monitor.js';
import type { Dispatcher } from './dispatcher.js';
import type { EventHooks } from './event-hooks.js';
import { locateQemu } from './locate-qemu.js';
import type { SavedGuest } from './saved-guest.js';
import type { SignalHooks } from './signal-hooks.js';
import type { Survival } from './survival.js';
import { monitorWithinMs, warnOfNoMonitor, warnOfUnknownCommands } from './warnings.js';

interface Parts {
  /** When QEMU was started, on the clock of `performance.now()`. */
  readonly startedAt: number;
  readonly dispatcher: Dispatcher;
  readonly monitor: ControlMonitor;
  readonly savedGuest: SavedGuest;
  readonly hooks: SignalHooks;
  readonly eventHooks: EventHooks;
  readonly freezeGuard: FreezeGuard;
  readonly survival: Survival;
  /** Called once, when all has been said. */
  readonly whenReady: () => void;
}

/** From the start of QEMU, or its take-over, until its guest runs. */
export class BringUp {
  /** How long the monitor has to come up, before a line says that it has not. */
  readonly #patience: Timer;
  #hasStarted: boolean;
  #isReady = false;

  constructor(
    private readonly context: RunContext,
    private readonly running: RunningQemu,
    private readonly parts: Parts,
  ) {
    // One that was taken over has run before, whatever it says now.
    this.#hasStarted = running.adoption !== null;
    this.#patience = startTimer(monitorWithinMs, () => this.#warnObservers(warnOfNoMonitor(context)));
    void this.#connect();
  }

  /** QEMU has answered on its monitor. */
  get hasStarted(): boolean {
    return this.#hasStarted;
  }

  /** Says that the VM runs, when it does so for the first time: in the log, to the service manager, on `--ready-fd`. */
  tellIfReady(): void {
    const { dispatcher, eventHooks, whenReady } = this.parts;
    if (this.#isReady || !isUp(dispatcher.state.evidence.runState)) return;
    this.#isReady = true;
    eventHooks.ready(() => this.#tellReady());
    setImmediate(whenReady);
  }

  /** QEMU has exited. */
  stop(): void {
    this.#patience.cancel();
  }

  async #connect(): Promise<void> {
    const { monitor, survival } = this.parts;
    try {
      await monitor.client.ready;
      this.#patience.cancel();
      this.#warnObservers(null);
      this.#hasStarted = true;
      survival.attempt(() => locateQemu(this.context, this.running));
      await this.#askOnce();
    } catch (error) {
      // If QEMU has exited, its end is handled when it is reaped.
      if (error instanceof MonitorClosed) return;
      if (!(error instanceof QmpError)) return survival.survive(error);
      this.context.log({
        event: 'monitor-refused',
        level: 'error',
        message: `QEMU does not accept commands on its control monitor (${error.desc}); the next shutdown can only kill it (SIGKILL)`,
      });
    }
  }

  /** From the first answer of the monitor on. */
  async #askOnce(): Promise<void> {
    const { context, running } = this;
    const { adoption } = running;
    const { dispatcher, monitor, savedGuest, hooks, eventHooks, freezeGuard, survival } = this.parts;
    if (adoption !== null && savedGuest.isResuming) savedGuest.wasFoundIn(await queryRunState(monitor.client));
    if (adoption?.sharesMonitor) await monitor.share();
    const monitors = context.tap === null ? running.monitors : await context.tap(running.monitors);
    hooks.prepare(monitors);
    if (context.tap !== null) eventHooks.use(monitors);
    await monitor.enableMigrationEvents();
    const runState = await monitor.queryRunState();
    if (adoption !== null) tellAdoption(context, running, adoption, runState);
    dispatcher.feed({ kind: 'monitor-up', runState, ageMs: performance.now() - this.parts.startedAt });
    this.tellIfReady();
    context.makesUp?.((event) => eventHooks.onEvent(event));
    const survive = (error: unknown): unknown => error instanceof MonitorClosed || survival.survive(error);
    warnOfUnknownCommands(context, monitor).catch(survive);
    if (adoption !== null) {
      const isUntouched = (): boolean => !dispatcher.isClosed && hooks.isUntouched;
      undoLeftovers(adoption, runState, { context, monitor, savedGuest, freezeGuard, isUntouched }).catch(survive);
    }
    if (savedGuest.isResuming) await savedGuest.resume(monitor, () => dispatcher.state.termination === null);
  }

  #tellReady(): void {
    const { ready, log, manager } = this.context;
    log({ event: 'ready', level: 'info', message: 'the VM is running' });
    manager.ready();
    ready?.tell((why) =>
      log({
        event: 'ready-failed',
        level: 'warning',
        message: `--ready-fd ${ready.number}: the newline cannot be written: ${why}`,
      }),
    );
  }

  #warnObservers(warning: string | null): void {
    for (const observer of this.context.observers) this.parts.survival.attempt(() => observer.warn?.(warning));
  }
}
