import { inheritedEnvironment } from '../hook/environment.js';
import { type Around, libDir } from '../hook/find.js';
import { type AroundRun, runAround } from '../hook/lifecycle.js';
import type { Config } from '../options/parse.js';
import { type Ending, type Prevention, verdict } from '../outcome/ending.js';
import { exitStatus } from '../outcome/exit-status.js';
import { describeEnding } from '../outcome/words.js';
import { isNamed } from '../qemu/argv.js';
import type { QemuExit } from '../qemu/process.js';
import { longestStopMs } from '../rules/longest-stop.js';
import { ruleFor } from '../rules/resolve.js';
import type { RunDir } from '../run-dir/run-dir.js';
import { ServiceManager } from '../service-manager/notify.js';
import { findStopTimeFault } from '../service-manager/stop-time.js';
import type { SignalName } from '../signals/names.js';
import { keep, onTrapped } from '../signals/trap.js';
import { StatusFile } from '../status/file.js';
import { OpenRecord, type RunRecord, historyFile } from '../status/history.js';
import { formatSeconds } from '../system/duration.js';
import { helperEnvironment } from '../system/own-environment.js';
import { atTerminal } from '../system/terminal.js';
import { type UsageError, errorText } from '../system/usage-error.js';
import type { RunningQemu, VmContext, RunContext } from './context.js';
import type { ReadyDescriptor } from './readiness.js';
import type { StateFile } from './saved-state.js';
import { Vm } from './vm.js';
import { warnOfFaults } from './warnings.js';

/** How this run ended: all of it is known. */
type Ended = Omit<RunRecord, 'v' | 'run'> & { readonly ms: number; readonly cut_off: boolean };

/** The VM's name was made of its command line, and is another one with the next change of that. */
function isNamedByDefault({ name, qemu, attach }: Config): boolean {
  return name === null && attach === null && !isNamed(qemu);
}

/** A run of QEMU that is over. */
export interface Over {
  readonly exit: QemuExit;
  readonly ending: Ending;
  /** It said no before its guest ran, and nobody had asked it to end. */
  readonly hasFailed: boolean;
  /** What it said no to may be the guest that it was to resume. */
  readonly refusedState: boolean;
  /** Why QEMU did not let a guest run that it had loaded; its state is kept. */
  readonly resumeFailure: string | null;
}

/** All that is left to do once a QEMU runs, be it this qemu-trap's or another's. */
export class Watch {
  readonly #context: RunContext;
  readonly #history: string | null;
  /** Of this run; `null` if none can be kept. */
  #record: OpenRecord | null;
  #historyFailed = false;
  #vm: Vm | null = null;
  #startedAt = performance.now();

  /** @param cleared settled when nothing is left of the hooks of a qemu-trap that was killed */
  constructor(
    context: VmContext,
    private readonly runDir: RunDir,
    stateFile: StateFile | null,
    ready: ReadyDescriptor | null,
    private readonly cleared: Promise<void>,
    keepsHistory = true,
  ) {
    const { config, vm, book, log, tap, isRehearsal } = context;
    this.#history = keepsHistory ? historyFile(config.stateDir, vm, process.env) : null;
    this.#record = this.#history === null ? null : OpenRecord.of(this.#history, vm, isNamedByDefault(config));
    const observers = [new StatusFile(runDir.file, vm, this.#history), ...context.observers];
    const manager = new ServiceManager(helperEnvironment(process.env), log);
    this.#context = { config, vm, book, log, stateFile, manager, ready, observers, tap, isRehearsal };
  }

  #around(which: Around, occasion: Readonly<Record<string, string>>): AroundRun | null {
    const { config, book, vm, log, stateFile } = this.#context;
    const { runDir } = this;
    if (this.#context.isRehearsal) return null;
    return runAround({
      which,
      dirs: book.dirs,
      facts: {
        occasion,
        vm,
        hooksDir: book.dirs.user ?? book.dirs.bundled,
        libDir: libDir(book.dirs),
        press: config.press,
        agent: config.agent,
        runDir: runDir.path,
        stateFile: stateFile?.path ?? null,
      },
      inherited: inheritedEnvironment(process.env),
      file: runDir.file,
      log,
    });
  }

  /**
   * Runs the hook `start`. A signal that ends a VM ends it, for there is no guest yet that would have to be asked; any
   * other waits for QEMU.
   * @returns why QEMU must not be started
   */
  async prepare(): Promise<Prevention | null> {
    const run = this.#around('start', {});
    if (run === null) return null;
    let stop: Prevention['stop'] = null;
    const untrap = onTrapped((trapped) => {
      if (ruleFor(trapped.signal, this.#context.book).defaultAction === 'none') return keep(trapped);
      stop ??= { signal: trapped.signal, since: trapped.at };
      run.cut();
    });
    const outcome = await run.ended;
    untrap();
    if (stop !== null) return { words: 'its hook start still ran', stop };
    return outcome.kind === 'done'
      ? null
      : { words: `its hook start ${outcome.kind === 'failed' ? outcome.why : 'says not now'}`, stop };
  }

  /** @returns how QEMU ended; never rejected once `charge` is in its hands */
  async over(running: RunningQemu, outlives: boolean): Promise<Over> {
    const { adoption } = running;
    this.runDir.leaves = outlives;
    this.#startedAt = performance.now() - (adoption?.ageMs ?? 0);
    const isFirst = this.#vm === null;
    if (isFirst) this.#keepRecord((record) => (this.#record = record.begin(running.qemu.pid)));
    const vm = new Vm(this.#context, running);
    this.#vm = vm;
    if (isFirst) {
      // From here on nothing ends qemu-trap but its QEMU's end.
      const survive = (error: unknown): void => this.#vm?.survival.survive(error);
      process.on('uncaughtException', survive).on('unhandledRejection', survive);
      // Now that nothing waits for it: what is wrong with a hook is no reason to start later.
      vm.survival.attempt(() => warnOfFaults(this.#context.book, process.env, this.#context.log));
      this.#warnOfStopTime().catch(survive);
    }
    const exit = await vm.untilGone();
    // One that not even SIGKILL has ended is still there for whoever comes next.
    this.runDir.leaves = vm.hasAbandoned;
    return {
      exit,
      ending: vm.ending(exit),
      hasFailed: vm.hasFailed(exit),
      refusedState: vm.hasRefused(exit),
      resumeFailure: vm.resumeFailure,
    };
  }

  async #warnOfStopTime(): Promise<void> {
    const { config, book, log } = this.#context;
    const fault = await findStopTimeFault(longestStopMs(config, book), helperEnvironment(process.env));
    if (fault !== null)
      log({
        event: 'stop-time',
        level: 'warning',
        message: fault.message,
        facts: { unit: fault.unit, fix: fault.mend, mend: fault.mend },
      });
  }

  /** Says how it ended: to the hook `end`, to the history, and last of all in the log. */
  async conclude(ending: Ending): Promise<number> {
    await this.cleared;
    const { vm, log, stateFile } = this.#context;
    const code = exitStatus(ending);
    const shutdown: { readonly signal: SignalName; readonly since: number; readonly timeoutMs?: number } | null =
      this.#vm?.shutdown ?? ending.prevented?.stop ?? null;
    const signal = shutdown?.signal ?? null;
    const ms = Math.round(performance.now() - (shutdown?.since ?? this.#startedAt));
    const saved = ending.end === 'saved' ? (stateFile?.path ?? null) : null;
    const message = `${signal === null ? '' : `${signal}: `}${describeEnding(ending)}${saved === null ? '' : `; the guest is saved in ${saved}, and the next start resumes it`}; ${formatSeconds(ms)} after ${signal ?? 'the start'}, exit status ${code}`;
    const how = {
      end: ending.end,
      verdict: verdict(ending),
      cut_off: ending.cutOff,
      status: code,
      signal,
      cause: ending.cause,
      ms,
    };
    const startedNoGuest = ending.end === 'start-failed' && ending.prevented === null && code === 0;
    await this.#pass(
      { time: new Date().toISOString(), vm, ...how, timeout_ms: shutdown?.timeoutMs ?? null, message },
      startedNoGuest,
    );
    log({
      event: 'exit',
      level: ending.cutOff || ending.end === 'start-failed' || code !== 0 ? 'warning' : 'info',
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
    await this.cleared;
    const ms = Math.round(performance.now() - this.#startedAt);
    await this.#pass(
      {
        time: new Date().toISOString(),
        vm: this.#context.vm,
        end: 'start-failed',
        verdict: 'failed-to-start',
        cut_off: false,
        status,
        signal: null,
        cause: null,
        ms,
        timeout_ms: null,
        message,
      },
      false,
    );
  }

  /** Writes to the history; one that cannot be written is said once. */
  #keepRecord(write: (record: OpenRecord) => void): void {
    if (this.#record === null) return;
    try {
      write(this.#record);
    } catch (error) {
      if (this.#historyFailed) return;
      this.#historyFailed = true;
      const path = this.#history;
      this.#context.log({
        event: 'history-failed',
        level: 'warning',
        message: `${path}: how this run ends cannot be kept there (${errorText(error)}): qemu-trap --status will not know of it`,
        facts: { path },
      });
    }
  }

  /**
   * Passes on how it ended: to the history, and then to the hook `end`, under which this qemu-trap may be killed.
   * @param startedNoGuest nothing is kept of it: QEMU was called for something else (`-version`, say)
   */
  async #pass(stop: Ended, startedNoGuest: boolean): Promise<void> {
    this.#keepRecord((record) => (startedNoGuest ? record.forget() : record.end(stop)));
    const run = this.#around('end', {
      QEMU_TRAP_END: stop.end,
      QEMU_TRAP_VERDICT: stop.verdict,
      QEMU_TRAP_CUT_OFF: stop.cut_off ? 'yes' : 'no',
      QEMU_TRAP_STATUS: String(stop.status),
      QEMU_TRAP_SIGNAL: stop.signal ?? '',
      QEMU_TRAP_SECONDS: (stop.ms / 1000).toFixed(2),
      QEMU_TRAP_MESSAGE: stop.message,
    });
    if (run !== null) {
      // What came before was for QEMU.
      const since = performance.now();
      const untrap = onTrapped(({ signal, at }) => {
        if (at < since) return;
        if (signal === 'SIGQUIT' || (signal === 'SIGINT' && atTerminal)) run.cut();
      });
      await run.ended;
      untrap();
    }
    this.#context.manager.close();
  }
}
