import { existsSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { onExit } from 'signal-exit';
import type { Config } from '../options/parse.js';
import { findFaults } from '../rules/hook-faults.js';
import { inheritedEnvironment } from '../hook/environment.js';
import { type AroundRun, runAround } from '../hook/lifecycle.js';
import { libDir, type Around } from '../hook/find.js';
import { historyFile, OpenRecord, type RunRecord } from '../status/history.js';
import type { Log } from '../log/log.js';
import { findStopTimeFault } from '../service-manager/stop-time.js';
import { ServiceManager } from '../service-manager/notify.js';
import { notExecuted, verdict, type Ending, type Prevention } from '../outcome/ending.js';
import { exitStatus } from '../outcome/exit-status.js';
import { describeEnding } from '../outcome/words.js';
import type { AdoptedQemu } from '../qemu/adopt.js';
import { changesUser, daemonizes, guestSource, isNamed, unfinishedOption, usesTerminal } from '../qemu/argv.js';
import { monitorsConfig, planLaunch, type Helpers, type Monitors, type TerminalUse } from '../qemu/launch-plan.js';
import { hasProc } from '../system/processes.js';
import { changeUserInstead, isQemu, userChanger } from '../qemu/wrappers.js';
import { startQemu, type QemuExit } from '../qemu/process.js';
import { findHelpers, requireQemu } from '../qemu/helpers.js';
import { noteQemu, noteStarting } from '../run-dir/noted-qemu.js';
import { openRunDir, type RunDir } from '../run-dir/run-dir.js';
import { runFiles } from '../run-dir/files.js';
import { openSavedState, putBack, setAside, stateFile, type SavedState, type StateFile } from './saved-state.js';
import { allRules, ruleFor } from '../rules/resolve.js';
import { wordSeconds } from '../system/duration.js';
import type { SignalName } from '../signals/names.js';
import { clearedOf, requireOwnGround, takeOver } from './takeover.js';
import { atTerminal, isInBackground, rememberTerminal } from '../system/terminal.js';
import type { Fault } from '../system/permissions.js';
import { checkStateDirectory } from '../system/state-directory.js';
import { StatusFile } from '../status/file.js';
import { descriptorLimit, inheritedDescriptors, isUnmarked, isWritable } from '../system/descriptors.js';
import { keep, onTrapped } from '../signals/trap.js';
import { errorText, refusedBySystem, UsageError } from '../system/usage-error.js';
import { ReadyDescriptor } from './readiness.js';
import { VmRun, type Adoption, type Charge, type Follower, type Setting, type Tap } from './vm.js';
import type { RuleBook } from '../rules/rule.js';
import { helperEnvironment } from '../system/own-environment.js';
import { longestStopMs } from '../rules/longest-stop.js';

/** The sockets in the run directory: a hook's own for each signal that has one, and the spare ones. */
function placeMonitors(hooked: readonly SignalName[], file: (name: string) => string): Monitors {
  return {
    control: file(runFiles.control),
    hooks: new Map(hooked.map((signal) => [signal, file(runFiles.hook(signal))])),
    lateHooks: file(runFiles.lateHooks),
    qmp: file(runFiles.qmp),
    human: file(runFiles.human),
  };
}

/** Refuses what cannot be served. */
function checkCall(config: Config, env: NodeJS.ProcessEnv): ReadyDescriptor | null {
  if (config.mode === 'run') {
    if (daemonizes(config.qemu)) {
      throw new UsageError(
        '-daemonize: qemu-trap must stay the parent of QEMU: leave the option out, your service manager does its work',
      );
    }
    requireQemu(config.qemu[0] ?? '', env);
    const unfinished = unfinishedOption(config.qemu);
    if (unfinished !== null)
      throw new UsageError(`QEMU's ${unfinished}: its value is missing: write it after it, or leave the option out`);
  }
  const { readyFd } = config;
  if (readyFd === null) return null;
  if (!(inheritedDescriptors().includes(readyFd) && isWritable(readyFd))) {
    throw new UsageError(
      `--ready-fd ${readyFd}: no such file descriptor is open for writing: open it in the shell (${readyFd}>FILE), or have the service manager open it`,
    );
  }
  return new ReadyDescriptor(readyFd);
}

function distrustedStateDirectory({ path, fault }: { readonly path: string; readonly fault: Fault }): UsageError {
  return new UsageError(
    `state directory ${path}: ${fault.what} (mend it: ${fault.mend}, or name another with --state-dir)`,
  );
}

/** Of a run directory that nobody has used since its last qemu-trap ended as it should. */
const nothingLeft = { left: null, cleared: Promise.resolve() };

/** What the start of QEMU needs besides its command line; the same where it has to be started a second time. */
interface Ground {
  readonly runDir: RunDir;
  readonly monitors: Monitors;
  readonly helpers: Helpers;
  readonly ready: ReadyDescriptor | null;
  readonly terminal: TerminalUse;
}

function prepare(
  config: Config,
  vm: string,
  ready: ReadyDescriptor | null,
  hooked: readonly SignalName[],
  env: NodeJS.ProcessEnv,
): Ground {
  const names: string[] = [];
  placeMonitors(hooked, (name) => (names.push(name), name));
  const runDir = openRunDir({ asked: config.runDir, vm, stateDir: config.stateDir, env, socketNames: names });
  // Whatever ends the program, and whenever: no socket and no lock is left behind that nobody needs.
  onExit(() => runDir.close());
  if (config.onDeath === 'keep' && config.mode === 'run' && !runDir.isLasting) {
    throw new UsageError(
      '--on-death keep: the next start would not find the guest again, for the run directory is a new one each time: name one with --run-dir',
    );
  }
  return {
    runDir,
    monitors: placeMonitors(hooked, runDir.file),
    helpers: findHelpers(env),
    ready,
    terminal: terminalUse(config.qemu),
  };
}

/**
 * Starts QEMU with monitors of qemu-trap's own.
 * @throws {UsageError} where it cannot be started: until it runs, an error ends the program, and after that none does
 */
async function launch(
  config: Config,
  ground: Ground,
  saved: SavedState | null,
  inheritsNothing: boolean,
  env: NodeJS.ProcessEnv,
): Promise<Charge> {
  const { runDir, monitors, helpers } = ground;
  const monitorsFile = runDir.file(runFiles.monitorsConfig);
  try {
    const withheld = ground.ready?.withheld ?? null;
    const inherited = inheritedDescriptors().filter((fd) => fd !== withheld);
    const plan = planLaunch({
      qemu: config.qemu,
      shield: config.shield,
      terminal: ground.terminal,
      dieWithParent: config.onDeath === 'kill',
      helpers,
      monitorsFile,
      savedState: saved,
      inheritsNothing,
      inherited,
      marked: inherited.filter((fd) => !isUnmarked(fd)),
      withheld,
      descriptorLimit: descriptorLimit(),
    });
    writeConfig(monitorsFile, monitorsConfig(plan.controlFd, monitors));
    noteStarting(runDir);
    const qemu = await startQemu(plan, inheritedEnvironment(env), {
      controlSocket: monitors.control,
      monitorsFile,
      runDir: runDir.path,
    });
    noteQemu(runDir, qemu.pid);
    return { qemu, monitors, runDir, saved, incoming: plan.incoming, adoption: null };
  } catch (error) {
    throw error instanceof UsageError
      ? error
      : refusedBySystem(
          (error as NodeJS.ErrnoException).path === monitorsFile
            ? `${monitorsFile}: cannot be written, and QEMU is not started`
            : 'QEMU cannot be started',
          error,
          'look whether it starts without qemu-trap',
        );
  }
}

/** When a file was last read, if nobody has read it: then its time says so. */
const neverRead = 0;

function writeConfig(file: string, text: string): void {
  writeFileSync(file, text, { mode: 0o600 });
  utimesSync(file, neverRead, new Date());
}

/**
 * True if QEMU has read what we add and opened none of it. The control monitor is the first: a wrapper has closed the
 * descriptor that it was to inherit. False where the file system keeps no time of access (noatime of mount(8)).
 */
function refusedControl({ runDir, monitors }: Ground): boolean {
  try {
    return statSync(runDir.file(runFiles.monitorsConfig)).atimeMs !== neverRead && !existsSync(monitors.control);
  } catch {
    return false;
  }
}

/** True for a QEMU that goes on where qemu-trap is killed, whatever was asked for. */
function outlives(config: Config, helpers: Helpers): boolean {
  return config.onDeath === 'keep' || helpers.setpriv === null || changesUser(config.qemu);
}

function terminalUse(qemu: readonly string[]): TerminalUse {
  if (!atTerminal || !usesTerminal(qemu)) return 'none';
  return isInBackground() ? 'background' : 'foreground';
}

/** Says what this system, or QEMU's own options, take away from the promises. */
function warnOfLimits(config: Config, { helpers, runDir, terminal }: Ground, log: Log): void {
  if (terminal === 'background') {
    log({
      event: 'no-stdin',
      level: 'warning',
      message:
        'QEMU uses the terminal, in whose background qemu-trap was started: it gets no stdin, for the kernel would stop it at its first look there',
    });
  }
  if (runDir.weakLock !== null) {
    log({
      event: 'weak-lock',
      level: 'warning',
      message: `the run directory's lock does not hold across pid namespaces, for the kernel's cannot be had (${runDir.weakLock})`,
    });
  }
  if (!hasProc()) {
    log({
      event: 'no-proc',
      level: 'warning',
      message:
        'no /proc is mounted here: what a hook leaves is not found, nor a QEMU to take over, and qemu-trap --status knows of no VM',
    });
  }
  if (config.shield && helpers.env === null) {
    log({
      event: 'partial-shield',
      level: 'warning',
      message:
        'the shield is partial: env(1) here has no --block-signal (GNU coreutils 8.31 has), so QEMU gets a session of its own; a signal sent to QEMU itself still reaches it',
    });
  }
  if (config.onDeath === 'kill' && outlives(config, helpers)) {
    const why =
      helpers.setpriv === null
        ? 'setpriv(1) of util-linux, which ties the two together, is not here'
        : 'it changes its user (-runas, -run-with user=), which unties the two';
    log({
      event: 'no-pdeathsig',
      level: 'warning',
      message: `QEMU will outlive a SIGKILL of qemu-trap, as with --on-death keep: ${why}${runDir.isLasting ? '' : '; name a directory with --run-dir, or the next start does not find it'}`,
    });
  }
}

/** The guest that was saved under this VM's name, where it can be resumed; where it cannot, it is set aside. */
function findSavedState(config: Config, file: StateFile | null, log: Log): SavedState | null {
  if (file === null) return null;
  const saved = openSavedState(file);
  if (saved === null) return null;
  const source = guestSource(config.qemu);
  const fault =
    'fault' in saved
      ? saved.fault
      : source === null
        ? null
        : `QEMU's own options say where its guest comes from (${source})`;
  if (fault === null) return saved as SavedState;
  setStateAside(file, fault, log);
  return null;
}

function setStateAside(file: StateFile, why: string, log: Log): void {
  try {
    const aside = setAside(file);
    log({
      event: 'state-refused',
      level: 'warning',
      message: `saved state ${file.path}: ${why}: set aside as ${aside}, and the VM boots normally`,
      facts: { path: file.path, aside },
    });
  } catch (error) {
    // A start that resumed it later would do so on disks that do not fit it any more.
    throw new UsageError(
      `saved state ${file.path}: ${why}, and it cannot be set aside (${(error as NodeJS.ErrnoException).code}): remove it, or name another directory with --state-dir`,
    );
  }
}

/** Says what is wrong with the hooks, each fault once. */
function warnOfFaults(book: RuleBook, env: NodeJS.ProcessEnv, log: Log): void {
  for (const fault of findFaults(allRules(book), book, env)) {
    log({
      event: 'hook-fault',
      level: 'warning',
      message: fault.message,
      facts: { hook: fault.path, fix: fault.mend, mend: fault.mend },
    });
  }
}

/** How this run ended: all of it is known. */
type Ended = Omit<RunRecord, 'v' | 'run'> & { readonly ms: number; readonly cut_off: boolean };

/** The VM's name was made of its command line, and is another one with the next change of that. */
function isNamedByDefault({ name, qemu, attach }: Config): boolean {
  return name === null && attach === null && !isNamed(qemu);
}

/** What a VM is to be run with. */
export interface Service {
  readonly config: Config;
  readonly vm: string;
  readonly book: RuleBook;
  readonly log: Log;
  /** Besides those that every VM has. */
  readonly followers: readonly Follower[];
  readonly tap: Tap | null;
  /** Of one signal, with a throw-away guest: `start` and `end` are not run. */
  readonly isRehearsal: boolean;
}

/** A run of QEMU that is over. */
interface Over {
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
class Watch {
  readonly #setting: Setting;
  readonly #history: string | null;
  /** Of this run; `null` if none can be kept. */
  #record: OpenRecord | null;
  #historyFailed = false;
  #vmRun: VmRun | null = null;
  #startedAt = performance.now();

  /** @param cleared settled when nothing is left of the hooks of a qemu-trap that was killed */
  constructor(
    service: Service,
    private readonly runDir: RunDir,
    stateFile: StateFile | null,
    ready: ReadyDescriptor | null,
    private readonly cleared: Promise<void>,
    keepsHistory = true,
  ) {
    const { config, vm, book, log, tap, isRehearsal } = service;
    this.#history = keepsHistory ? historyFile(config.stateDir, vm, process.env) : null;
    this.#record = this.#history === null ? null : OpenRecord.of(this.#history, vm, isNamedByDefault(config));
    const followers = [new StatusFile(runDir.file, vm, this.#history), ...service.followers];
    const manager = new ServiceManager(helperEnvironment(process.env), log);
    this.#setting = { config, vm, book, log, stateFile, manager, ready, followers, tap, isRehearsal };
  }

  #around(which: Around, occasion: Readonly<Record<string, string>>): AroundRun | null {
    const { config, book, vm, log, stateFile } = this.#setting;
    const { runDir } = this;
    if (this.#setting.isRehearsal) return null;
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
      if (ruleFor(trapped.signal, this.#setting.book).defaultAction === 'none') return keep(trapped);
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
  async over(charge: Charge, outlives: boolean): Promise<Over> {
    const { adoption } = charge;
    this.runDir.leaves = outlives;
    this.#startedAt = performance.now() - (adoption?.ageMs ?? 0);
    const isFirst = this.#vmRun === null;
    if (isFirst) this.#keepRecord((record) => (this.#record = record.begin(charge.qemu.pid)));
    const vmRun = new VmRun(this.#setting, charge);
    this.#vmRun = vmRun;
    if (isFirst) {
      // From here on nothing ends qemu-trap but its QEMU's end.
      const survive = (error: unknown): void => this.#vmRun?.survive(error);
      process.on('uncaughtException', survive).on('unhandledRejection', survive);
      // Now that nothing waits for it: what is wrong with a hook is no reason to start later.
      vmRun.attempt(() => warnOfFaults(this.#setting.book, process.env, this.#setting.log));
      this.#warnOfStopTime().catch(survive);
    }
    const exit = await vmRun.untilGone();
    // One that not even SIGKILL has ended is still there for whoever comes next.
    this.runDir.leaves = vmRun.hasAbandoned;
    return {
      exit,
      ending: vmRun.ending(exit),
      hasFailed: vmRun.hasFailed(exit),
      refusedState: vmRun.hasRefused(exit),
      resumeFailure: vmRun.resumeFailure,
    };
  }

  async #warnOfStopTime(): Promise<void> {
    const { config, book, log } = this.#setting;
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
    const { vm, log, stateFile } = this.#setting;
    const code = exitStatus(ending);
    const shutdown: { readonly signal: SignalName; readonly since: number; readonly timeoutMs?: number } | null =
      this.#vmRun?.shutdown ?? ending.prevented?.stop ?? null;
    const signal = shutdown?.signal ?? null;
    const ms = Math.round(performance.now() - (shutdown?.since ?? this.#startedAt));
    const saved = ending.end === 'saved' ? (stateFile?.path ?? null) : null;
    const message = `${signal === null ? '' : `${signal}: `}${describeEnding(ending)}${saved === null ? '' : `; the guest is saved in ${saved}, and the next start resumes it`}; ${wordSeconds(ms)} after ${signal ?? 'the start'}, exit status ${code}`;
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
        vm: this.#setting.vm,
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
      this.#setting.log({
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
    this.#setting.manager.close();
  }
}

/**
 * Runs QEMU as a service, from its start, or from where a qemu-trap that was killed has left it, to its end.
 * @returns the exit status
 * @throws {UsageError} before QEMU was started
 */
export async function supervise(service: Service): Promise<number> {
  const { config, vm, book, log } = service;
  const env = process.env;
  const ready = checkCall(config, env);
  const distrusted = checkStateDirectory(config.stateDir, env);
  if (distrusted !== null && config.stateDir !== null) throw distrustedStateDirectory(distrusted);
  const file = distrusted === null ? stateFile(config.stateDir, vm, env) : null;
  const hooked = allRules(book)
    .filter((rule) => rule.script !== null)
    .map((rule) => rule.signal);
  const restoreTerminal = rememberTerminal();
  const ground = prepare(config, vm, ready, hooked, env);
  const { runDir } = ground;
  const wish = { runDir, monitors: ground.monitors, qemu: config.qemu, state: file, onDeath: config.onDeath };
  const { left, cleared } = runDir.isFresh ? nothingLeft : await takeOver(wish);
  const watch = new Watch(service, runDir, file, ready, cleared, distrusted === null);
  if (distrusted !== null) {
    const { path, fault } = distrusted;
    log({
      event: 'state-distrusted',
      level: 'warning',
      message: `state directory ${path}: ${fault.what}: no guest is saved there or resumed, and no history kept; mend it: ${fault.mend}`,
      facts: { path, fix: fault.mend },
    });
  }
  if (left !== null) return watch.conclude((await watch.over(left, true)).ending);

  // Before any hook of ours: what a killed one's hooks have left may be at work on what they would touch.
  await cleared;
  if (!runDir.isFresh) runDir.clear();
  warnOfLimits(config, ground, log);
  const prevented = await watch.prepare();
  if (prevented !== null) return watch.conclude(notExecuted(prevented));
  let inheritsNothing = false;
  const runOnce = async (saved: SavedState | null): Promise<Over> => {
    const charge = await launch(config, ground, saved, inheritsNothing, env);
    const { qemu } = charge;
    log({
      event: 'start',
      level: 'info',
      message: `QEMU started (pid ${qemu.pid})${saved === null ? '' : `, to resume ${saved.path}`}`,
      facts: { pid: qemu.pid },
    });
    if (qemu.control === null) {
      const [wrapper = ''] = config.qemu;
      void qemu.reached.then(() =>
        log({
          event: 'wrapper',
          level: 'warning',
          message: `${wrapper} closes the descriptors that QEMU is to inherit: it was started once more, with a socket in the place of its control monitor`,
          facts: { wrapper },
        }),
      );
    }
    return watch.over(charge, outlives(config, ground.helpers));
  };
  const run = async (saved: SavedState | null): Promise<Over> => {
    const over = await runOnce(saved);
    if (!over.hasFailed || isQemu(config.qemu[0] ?? '') || userChanger(config.qemu) !== null || !refusedControl(ground))
      return over;
    inheritsNothing = true;
    return runOnce(saved);
  };
  try {
    let ended = await run(findSavedState(config, file, log));
    if (ended.resumeFailure !== null)
      return await watch.conclude(
        notExecuted({
          words: `its saved guest is loaded and cannot go on (${ended.resumeFailure}); it is kept`,
          stop: null,
        }),
      );
    const refused = ended.refusedState && file !== null;
    if (refused) {
      setStateAside(
        file,
        `QEMU does not load it (${ended.exit.signal === null ? `status ${ended.exit.code}` : `killed by ${ended.exit.signal}`}; its own words are above)`,
        log,
      );
      ended = await run(null);
    }
    if (ended.exit.signal !== null) restoreTerminal();
    const changer = ended.hasFailed ? userChanger(config.qemu) : null;
    if (changer !== null) {
      log({
        event: 'wrapper',
        level: 'warning',
        message: `${changer}: QEMU was to run as a user who cannot read the run directory: ${changeUserInstead}`,
        facts: { wrapper: changer },
      });
    }
    // It was not the state that QEMU did not like.
    if (refused && ended.ending.end === 'start-failed') putBack(file);
    return await watch.conclude(ended.ending);
  } catch (error) {
    if (error instanceof UsageError) await watch.fail(error);
    throw error;
  }
}

/**
 * Stands in for a QEMU that runs already, to its end.
 * @returns the exit status
 * @throws {UsageError} before it is served
 */
export async function standIn(service: Service, qemu: AdoptedQemu): Promise<number> {
  const { config, vm } = service;
  const ready = checkCall(config, process.env);
  const distrusted = checkStateDirectory(config.stateDir, process.env);
  if (distrusted !== null && config.stateDir !== null) throw distrustedStateDirectory(distrusted);
  const { runDir, monitors } = prepare(config, vm, ready, [], process.env);
  requireOwnGround(runDir, config.attach ?? '', qemu.pid);
  // A guest that a hook of a killed one has frozen is still to be thawed.
  runDir.clear(runFiles.frozen);
  // So that no other is started in its place.
  noteQemu(runDir, qemu.pid);
  const cleared = clearedOf(runDir);
  const adoption: Adoption = { ageMs: qemu.ageMs, isOther: false, sharesMonitor: true, cleared };
  const watch = new Watch(service, runDir, null, ready, cleared, distrusted === null);
  // What it leaves is nothing that whoever comes next would need: that one attaches anew.
  const { ending } = await watch.over({ qemu, monitors, runDir, saved: null, incoming: [], adoption }, false);
  return watch.conclude(ending);
}
