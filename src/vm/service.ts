import { HookRunner } from '../hook/runner.js';
import { type Ending, type Prevention, verdict } from '../outcome/ending.js';
import { exitStatus } from '../outcome/exit-status.js';
import { describeEnd } from '../outcome/words.js';
import { longestStopMs } from '../rules/longest-stop.js';
import type { RunDir } from '../run-dir/run-dir.js';
import { ServiceManager } from '../service-manager/notify.js';
import { findStopTimeFault } from '../service-manager/stop-time.js';
import type { SignalName } from '../signals/names.js';
import { StatusFile } from '../status/file.js';
import { timeoutFacts } from '../system/duration.js';
import { helperEnvironment } from '../system/own-environment.js';
import type { UsageError } from '../system/usage-error.js';
import type { FinishedRun } from './conclude.js';
import type { RunContext, RunningQemu, VmContext } from './context.js';
import { hookFacts } from './hook-facts.js';
import { type Ended, KeptRecord } from './kept-record.js';
import { LifecycleHooks } from './lifecycle-hooks.js';
import type { ReadyDescriptor } from './readiness.js';
import type { StateFile } from './saved-state.js';
import { Vm } from './vm.js';
import { warnOfRules } from './warnings.js';

/** What a service needs to begin with. */
interface Premises {
  readonly runDir: RunDir;
  readonly stateFile: StateFile | null;
  readonly ready: ReadyDescriptor | null;
  /** Settled when nothing is left of the hooks of a qemu-trap that was killed. */
  readonly leftoverHooksGone: Promise<void>;
  /** False if the state directory is in the hands of others. */
  readonly isStateTrusted: boolean;
}

interface Stop {
  readonly signal: SignalName;
  readonly since: number;
  readonly timeoutMs?: number;
}

/** A VM as a service, from its hook `start` to the last line that says how it ended. */
export class Service {
  readonly #context: RunContext;
  readonly #record: KeptRecord;
  readonly #runner: HookRunner;
  readonly #hooks: LifecycleHooks;
  #vm: Vm | null = null;
  #startedAt = performance.now();
  /** When QEMU exited: what its hooks need after that is no part of the stop. */
  #exitedAt: number | null = null;

  constructor(
    context: VmContext,
    private readonly premises: Premises,
  ) {
    const { config, vm, log } = context;
    const { runDir, stateFile, ready, isStateTrusted } = premises;
    this.#record = new KeptRecord(config, vm, isStateTrusted, log);
    const observers = [new StatusFile(runDir.file, vm, this.#record.path), ...context.observers];
    const manager = new ServiceManager(helperEnvironment(process.env), log);
    this.#context = { ...context, stateFile, manager, ready, observers };
    this.#runner = new HookRunner(hookFacts(this.#context, runDir), runDir.file, log);
    this.#hooks = new LifecycleHooks(this.#context, this.#runner);
  }

  /** @returns why QEMU must not be started */
  prepare(): Promise<Prevention | null> {
    return this.#hooks.start();
  }

  /**
   * Serves a QEMU to its end.
   * @param outlives it goes on if qemu-trap is killed, and needs what is in the run directory
   * @returns how it ended; never rejected
   */
  async serve(running: RunningQemu, outlives: boolean): Promise<FinishedRun> {
    const { runDir } = this.premises;
    runDir.leaves = outlives;
    const isFirst = this.#vm === null;
    if (isFirst) this.#record.begin(running.qemu.pid);
    const vm = new Vm(this.#context, running, this.#runner);
    this.#vm = vm;
    this.#startedAt = vm.startedAt;
    if (isFirst) this.#surviveAll();
    const finished = await vm.untilGone();
    // One that not even SIGKILL has killed is still there for the next start to find.
    runDir.leaves = finished.isStillThere;
    this.#exitedAt = finished.exitedAt;
    return finished;
  }

  /** Says how it ended: to the history, to the hook `end`, and last of all in the log. */
  async conclude(ending: Ending): Promise<number> {
    await this.premises.leftoverHooksGone;
    const { vm, log, stateFile, keepsFailedStarts } = this.#context;
    const code = exitStatus(ending);
    const stop: Stop | null = this.#vm?.shutdown ?? ending.prevented?.stop ?? null;
    const signal = stop?.signal ?? null;
    const ms = Math.round((this.#exitedAt ?? performance.now()) - (stop?.since ?? this.#startedAt));
    const saved = ending.end === 'saved' ? (stateFile?.path ?? null) : null;
    const message = describeEnd(ending, { signal, ms, saved, status: code });
    const { end, cutOff, cause, button } = ending;
    const how = { end, verdict: verdict(ending), cut_off: cutOff, status: code, signal, cause, button, ms };
    const isNoFailure = code === 0 || !keepsFailedStarts;
    const startedNoGuest = end === 'start-failed' && ending.prevented === null && isNoFailure;
    const time = new Date().toISOString();
    await this.#pass({ time, vm, ...how, ...timeoutFacts(stop?.timeoutMs ?? null), message }, startedNoGuest);
    log({
      event: 'exit',
      level: cutOff || code !== 0 || (end === 'start-failed' && stop === null) ? 'warning' : 'info',
      message,
      facts: {
        ...how,
        action: ending.action,
        reason: ending.evidence.shutdown?.reason ?? null,
        qemu_status: ending.code,
        qemu_signal: ending.signal,
        ...(saved !== null && { saved }),
      },
    });
    return code;
  }

  /** Says that QEMU could not even be executed, to all but the log: that has `error` itself as its last line. */
  async fail({ message, status }: UsageError): Promise<void> {
    await this.premises.leftoverHooksGone;
    const how = { end: 'start-failed', verdict: 'failed-to-start', cut_off: false, status, signal: null } as const;
    const ms = Math.round(performance.now() - this.#startedAt);
    const time = new Date().toISOString();
    await this.#pass({ time, vm: this.#context.vm, ...how, cause: null, ms, timeout_ms: null, message }, false);
  }

  /** From here on nothing ends qemu-trap but its QEMU's end. */
  #surviveAll(): void {
    const survive = (error: unknown): void => this.#vm?.survival.survive(error);
    process.on('uncaughtException', survive).on('unhandledRejection', survive);
    // Now that nothing waits for it: what is wrong with a hook is no reason to start later.
    const { book, log } = this.#context;
    this.#vm?.survival.attempt(() => warnOfRules(book, process.env, log));
    this.#warnOfStopTime().catch(survive);
  }

  async #warnOfStopTime(): Promise<void> {
    const { config, book, log } = this.#context;
    const fault = await findStopTimeFault(longestStopMs(config, book), helperEnvironment(process.env));
    if (fault === null) return;
    const { message, unit, fix } = fault;
    log({ event: 'stop-time', level: 'warning', message, facts: { unit, fix, mend: fix } });
  }

  /**
   * Passes on how it ended: to the history, and then to the hook `end`, under which this qemu-trap may be killed.
   * @param startedNoGuest nothing is kept of it: QEMU was called for something else (`-version`, say)
   */
  async #pass(how: Ended, startedNoGuest: boolean): Promise<void> {
    if (startedNoGuest) this.#record.forget();
    else this.#record.end(how);
    await this.#hooks.end(how);
    await this.#context.manager.conclude(how.message);
  }
}
