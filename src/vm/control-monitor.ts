import { isExiting, readEvent } from '../outcome/evidence.js';
import { unknownRunState } from '../outcome/run-state.js';
import { describeShutdown } from '../outcome/words.js';
import { ButtonReader } from '../qemu/button-reader.js';
import { readDiskWrites } from '../qemu/disk-writes.js';
import { letGoOn, pressPowerButton, queryRunState } from '../qemu/power-button.js';
import { QmpClient } from '../qmp/client.js';
import { MonitorClosed, QmpError, type QmpEvent } from '../qmp/messages.js';
import { type CommandResult, runMonitorCommand, shownCommand } from '../qmp/monitor-command.js';
import { QmpServer } from '../qmp/server.js';
import type { SignalName } from '../signals/names.js';
import { within } from '../system/timer.js';
import { errorText } from '../system/usage-error.js';
import type { RunContext, RunningQemu } from './context.js';
import type { Dispatcher } from './dispatcher.js';

const reapEveryMs = 100;
const reapTries = 50;

/**
 * Events after which QEMU's run state may be another (qapi/run-state.json of QEMU). A guest that has panicked stands
 * still after STOP, or QEMU exits: then nothing may be asked any more.
 */
const runStateEvents: readonly string[] = ['STOP', 'RESUME', 'SUSPEND', 'WAKEUP', 'RESET', 'MIGRATION'];

/** Events after which the registers of the power button may be others. */
const buttonEvents: readonly string[] = ['POWERDOWN', 'RESET', 'WAKEUP'];

/** What the core is to know of a run state that QEMU says. */
type RunStateReading = (runState: string) => string;

function describeResult(command: string, { ok, isGuess }: CommandResult): string {
  // It is the button that was pressed: nothing has been powered down yet.
  if (ok && command === 'system_powerdown') return `QEMU executed ${command}`;
  return `${command} ${ok ? 'succeeded' : 'failed'}${isGuess ? ' (judging by what the human monitor printed)' : ''}`;
}

/** The monitor that qemu-trap itself speaks on. What QEMU says there becomes facts for the core here, and nowhere else. */
export class ControlMonitor {
  readonly client: QmpClient;
  readonly #button: ButtonReader;
  /** The number, among all messages, of the last event that may have changed the registers of the power button. */
  #buttonChange = 0;
  /** Monitors of qemu-trap's own; `null` if QEMU has enough of them. */
  #server: QmpServer | null = null;

  /**
   * @param refreshed is called when QEMU has said anew how its guest is
   * @param heard is called with each event, after what follows from it
   */
  constructor(
    private readonly context: RunContext,
    private readonly running: RunningQemu,
    private readonly dispatcher: Dispatcher,
    private readonly read: RunStateReading,
    private readonly refreshed: () => void,
    private readonly heard: (event: QmpEvent) => void,
  ) {
    const { qemu } = running;
    this.client = new QmpClient(qemu.control, {
      onEvent: (event) => this.#onEvent(event),
      onClose: () => {
        this.#server?.close();
        void this.#reap();
      },
    });
    this.#button = new ButtonReader(this.client, () => this.#buttonChange);
    if (qemu.control === null) void qemu.reached.then((control) => this.client.open(control));
  }

  /** Opens monitors of qemu-trap's own, for a QEMU that has but the one. */
  async share(): Promise<void> {
    const { lateHooks, events, qmp, human } = this.running.monitors;
    const server = new QmpServer(this.client);
    this.#server = server;
    try {
      await server.listen([lateHooks, events, qmp], human);
    } catch (error) {
      this.context.log({
        event: 'monitors-failed',
        level: 'error',
        message: `hooks get no monitor because its sockets cannot be created (${errorText(error)}); qemu-trap presses the power button itself`,
      });
    }
  }

  /** Has QEMU tell when a migration is complete; one that cannot is asked for its run state often enough. */
  async enableMigrationEvents(): Promise<void> {
    try {
      await this.client.execute('migrate-set-capabilities', { capabilities: [{ capability: 'events', state: true }] });
    } catch (error) {
      if (error instanceof MonitorClosed) throw error;
    }
  }

  /**
   * QEMU's run state, as the core is to know it.
   * @throws {MonitorClosed}
   */
  async queryRunState(): Promise<string> {
    const runState = await queryRunState(this.client).catch((error: unknown) => {
      if (error instanceof QmpError) return unknownRunState;
      throw error;
    });
    return this.read(runState);
  }

  /** Asks QEMU how its guest is, for the core. Never rejected. */
  async refreshRunState(): Promise<void> {
    try {
      this.dispatcher.feed({ kind: 'run-state', runState: await this.queryRunState() });
      this.refreshed();
    } catch {
      // QEMU has exited.
    }
  }

  /** @param isRunning nothing has to be asked of the guest first */
  press(signal: SignalName, isRunning: boolean): Promise<void> {
    return this.#command(signal, 'system_powerdown', () => pressPowerButton(this.client, isRunning), true);
  }

  /** @param isAgain that it succeeded has been told */
  letGoOn(signal: SignalName, isAgain: boolean): Promise<void> {
    return this.#command(signal, 'cont', () => letGoOn(this.client), true, isAgain);
  }

  /** Looks the registers of the power button up, for the core. Never rejected. */
  async lookUpButton(): Promise<void> {
    try {
      this.dispatcher.feed({ kind: 'button-place', place: await this.#button.lookUp() });
    } catch {
      // QEMU has exited.
    }
  }

  /** Reads what they say, for the core. Never rejected. */
  async readButton(): Promise<void> {
    try {
      const reading = await this.#button.read();
      this.dispatcher.feed(
        typeof reading === 'string' ? { kind: 'button-place', place: reading } : { kind: 'button', reading },
      );
    } catch {
      // QEMU has exited.
    }
  }

  /** Asks what the disks have done, for the core. Never rejected. */
  async readDisks(): Promise<void> {
    try {
      this.dispatcher.feed({ kind: 'disks', writes: await readDiskWrites(this.client) });
    } catch {
      // QEMU has exited.
    }
  }

  /** Runs the monitor command of a rule. */
  run(signal: SignalName, line: string): Promise<void> {
    return this.#command(signal, line, () => runMonitorCommand(this.client, line), false);
  }

  /** The last word to QEMU. While it is still starting, this waits for its monitor; SIGKILL after its time does not. */
  quit(): void {
    this.client.ready.then(() => this.client.executeLast('quit')).catch(() => undefined);
  }

  close(): void {
    this.#server?.close();
  }

  async #command(
    signal: SignalName,
    command: string,
    run: () => Promise<CommandResult>,
    isPress: boolean,
    isTold = false,
  ): Promise<void> {
    let result: CommandResult;
    try {
      result = await run();
    } catch {
      return; // QEMU has exited.
    }
    const shown = shownCommand(command);
    const output = result.output === '' ? '' : `: ${result.output}`;
    if (!(result.ok && isTold))
      this.context.log({
        event: 'command',
        level: result.ok ? 'info' : 'warning',
        message: `${signal}: ${describeResult(shown, result)}${output}`,
        facts: { signal, command: shown, ok: result.ok, output: result.output },
      });
    this.dispatcher.feed({ kind: 'command-end', signal, ok: result.ok, isPress });
  }

  #onEvent(happened: QmpEvent): void {
    this.#follow(happened);
    this.heard(happened);
  }

  #follow(happened: QmpEvent): void {
    this.#server?.event(happened);
    const { event } = happened;
    const { log } = this.context;
    if (buttonEvents.includes(event)) this.#buttonChange = this.client.received;
    if (event === 'POWERDOWN') {
      log({ event: 'powerdown', level: 'info', message: 'the power button was pressed' });
      this.dispatcher.feed({ kind: 'powerdown' });
      return;
    }
    if (event === 'WAKEUP') this.dispatcher.feed({ kind: 'wakeup' });
    const told = readEvent(happened);
    if (told === null) {
      if (runStateEvents.includes(event)) void this.refreshRunState();
      return;
    }
    if (told.event === 'SHUTDOWN') {
      const { reason } = told;
      log({ event: 'guest-shutdown', level: 'info', message: describeShutdown(reason), facts: { reason } });
    }
    this.dispatcher.feed({ kind: 'qemu', event: told });
    const exits = isExiting(this.dispatcher.state.evidence);
    this.client.hold(exits);
    if (exits) this.running.qemu.look(this.context.config.killAfterMs);
    if (!exits && runStateEvents.includes(event)) void this.refreshRunState();
  }

  /** It has closed: if libuv has lost the SIGCHLD to a flood of signals, it is asked to look again. */
  async #reap(): Promise<void> {
    const { qemu } = this.running;
    const gone = qemu.gone.then(() => true);
    for (let tries = 0; tries < reapTries; tries++) {
      if ((await within(reapEveryMs, gone)) === true || this.dispatcher.isClosed) return;
      qemu.reap();
    }
    if (this.dispatcher.isClosed) return;
    this.context.log({
      event: 'monitor-lost',
      level: 'error',
      message:
        'the control monitor has closed, but QEMU or its wrapper is still running; the next shutdown can only kill it (SIGKILL)',
    });
  }
}
