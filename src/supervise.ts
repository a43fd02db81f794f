import { existsSync, writeFileSync } from 'node:fs';
import { onExit } from 'signal-exit';
import type { Config } from './args.js';
import { closeUnmarked, isInheritedFd, isWritable, withoutInheritance } from './descriptors.js';
import { exitStatus } from './exit-status.js';
import { findFaults } from './faults.js';
import { helperEnvironment, inheritedEnvironment } from './hook/environment.js';
import type { Log } from './log.js';
import { ServiceManager } from './notify/service-manager.js';
import { verdict, wordEnding } from './outcome.js';
import { changesUser, daemonizes, guestSource, namedFds } from './qemu/command-line.js';
import { monitorsConfig, planLaunch, type Helpers, type Monitors } from './qemu/launch.js';
import { startQemu } from './qemu/process.js';
import { findHelpers, requireQemu } from './qemu/programs.js';
import { openRunDir, type RunDir } from './qemu/run-dir.js';
import { runFiles } from './qemu/run-files.js';
import { openSavedState, putBack, setAside, stateFile, type SavedState, type StateFile } from './qemu/saved-state.js';
import { ruleFor, type RuleBook } from './rules.js';
import { wordSeconds } from './seconds.js';
import { trappableSignals, type SignalName } from './signals.js';
import { rememberTerminal } from './terminal.js';
import { errorText, UsageError } from './usage-error.js';
import { VmRun, type Launched } from './vm-run.js';

/** The sockets in the run directory: a hook's own for each signal that has one, and the spare ones. */
function placeMonitors(hooked: readonly SignalName[], file: (name: string) => string): Monitors {
  return {
    hooks: new Map(hooked.map((signal) => [signal, file(runFiles.hook(signal))])),
    lateHooks: file(runFiles.lateHooks),
    qmp: file(runFiles.qmp),
    human: file(runFiles.human),
  };
}

/**
 * Refuses what cannot be served.
 * @returns the descriptor for `--ready-fd`
 */
function checkCall(config: Config, env: NodeJS.ProcessEnv): number | null {
  if (daemonizes(config.qemu)) {
    throw new UsageError('-daemonize: qemu-trap must stay the parent of QEMU: leave the option out, your service manager does its work');
  }
  const { readyFd } = config;
  if (readyFd !== null && !(isInheritedFd(readyFd) && isWritable(readyFd))) {
    throw new UsageError(`--ready-fd ${readyFd}: no such file descriptor is open for writing: open it in the shell (${readyFd}>FILE), or let the service manager`);
  }
  requireQemu(config.qemu[0] ?? '', env);
  return readyFd === null ? null : withoutInheritance(readyFd);
}

/** What the start of QEMU needs besides its command line; the same where it has to be started a second time. */
interface Ground {
  readonly runDir: RunDir;
  readonly monitors: Monitors;
  readonly helpers: Helpers;
  /** Descriptors that QEMU's options name. */
  readonly namedFds: readonly number[];
  /** Those of them that are open. */
  readonly fds: readonly number[];
}

function prepare(config: Config, vm: string, readyFd: number | null, hooked: readonly SignalName[], env: NodeJS.ProcessEnv): Ground {
  const names: string[] = [];
  placeMonitors(hooked, (name) => (names.push(name), name));
  const runDir = openRunDir(config.runDir, vm, env, names);
  const named = namedFds(config.qemu);
  const fds = named.filter((fd) => fd !== readyFd && isInheritedFd(fd));
  closeUnmarked(readyFd === null ? fds : [...fds, readyFd]);
  return { runDir, monitors: placeMonitors(hooked, runDir.file), helpers: findHelpers(env), namedFds: named, fds };
}

/** Starts QEMU with monitors of qemu-trap's own. Until it runs, an error ends the program; after that none does. */
async function launch(config: Config, ground: Ground, saved: SavedState | null, env: NodeJS.ProcessEnv): Promise<Launched> {
  const { runDir, monitors, helpers } = ground;
  const monitorsFile = runDir.file(runFiles.monitorsConfig);
  try {
    const plan = planLaunch({ qemu: config.qemu, shield: config.shield, dieWithParent: true, helpers, namedFds: ground.namedFds, fds: ground.fds, monitorsFile, savedState: saved?.fd ?? null });
    writeFileSync(monitorsFile, monitorsConfig(plan.controlFd, monitors), { mode: 0o600 });
    return { qemu: await startQemu(plan, inheritedEnvironment(env)), monitors, runDir, saved, fds: ground.fds };
  } catch (error) {
    runDir.remove();
    throw error instanceof UsageError ? error : new UsageError(`QEMU cannot be started (${(error as NodeJS.ErrnoException).code ?? errorText(error)})`);
  }
}

/** Says what this system, or QEMU's own options, take away from the promises. */
function warnOfLimits(config: Config, helpers: Helpers, log: Log): void {
  if (config.shield && helpers.env === null) {
    log({ event: 'partial-shield', level: 'warning', message: 'the shield is partial: env(1) here has no --block-signal (GNU coreutils 8.31 has), so QEMU gets a session of its own; a signal sent to QEMU itself still reaches it' });
  }
  if (helpers.setpriv === null) {
    log({ event: 'no-pdeathsig', level: 'warning', message: 'QEMU will outlive a SIGKILL of qemu-trap: setpriv(1) of util-linux, which ties the two together, is not here' });
  } else if (changesUser(config.qemu)) {
    log({ event: 'no-pdeathsig', level: 'warning', message: 'QEMU will outlive a SIGKILL of qemu-trap: it changes its user (-runas, -run-with user=), which unties the two' });
  }
}

/** The guest that was saved under this VM's name, where it can be resumed; where it cannot, it is set aside. */
function findSavedState(config: Config, file: StateFile | null, log: Log): SavedState | null {
  if (file === null) return null;
  const saved = openSavedState(file);
  if (saved === null) return null;
  const source = guestSource(config.qemu);
  const fault = 'fault' in saved ? saved.fault : source === null ? null : `QEMU's own options say where its guest comes from (${source})`;
  if (fault === null) return saved as SavedState;
  setStateAside(file, fault, log);
  return null;
}

function setStateAside(file: StateFile, why: string, log: Log): void {
  try {
    const aside = setAside(file);
    log({ event: 'state-refused', level: 'warning', message: `saved state ${file.path}: ${why}: set aside as ${aside}, and the VM boots normally`, facts: { path: file.path, aside } });
  } catch (error) {
    // A start that resumed it later would do so on disks that do not fit it any more.
    throw new UsageError(`saved state ${file.path}: ${why}, and it cannot be set aside (${(error as NodeJS.ErrnoException).code}): remove it, or name another directory with --state-dir`);
  }
}

/**
 * Runs QEMU as a service, from its start to its end.
 * @returns the exit status
 * @throws {UsageError} before QEMU was started
 */
export async function supervise(config: Config, vm: string, book: RuleBook, log: Log): Promise<number> {
  const env = process.env;
  const readyFd = checkCall(config, env);
  const file = stateFile(config.stateDir, vm, env);
  const rules = trappableSignals.map((signal) => ruleFor(signal, book));
  for (const fault of findFaults(rules, book, env)) {
    log({ event: 'hook-fault', level: 'warning', message: fault.message, facts: { hook: fault.path, mend: fault.mend } });
  }
  const hooked = rules.filter((rule) => rule.script !== null).map((rule) => rule.signal);
  const restoreTerminal = rememberTerminal();
  const ground = prepare(config, vm, readyFd, hooked, env);
  // Whatever ends the program before its time: no socket and no lock is left behind.
  onExit(() => ground.runDir.remove());
  warnOfLimits(config, ground.helpers, log);

  const manager = new ServiceManager(helperEnvironment(env), log);
  let startedAt = performance.now();
  let vmRun: VmRun | null = null;
  const survive = (error: unknown): void => vmRun?.survive(error);
  const start = async (saved: SavedState | null): Promise<VmRun> => {
    const launched = await launch(config, ground, saved, env);
    startedAt = performance.now();
    log({ event: 'start', level: 'info', message: `QEMU started (pid ${launched.qemu.pid})${saved === null ? '' : `, to resume ${saved.path}`}`, facts: { pid: launched.qemu.pid } });
    return new VmRun(config, vm, book, log, launched, file, manager, readyFd);
  };
  const saved = findSavedState(config, file, log);
  vmRun = await start(saved);
  process.on('uncaughtException', survive);
  process.on('unhandledRejection', survive);
  let exit = await vmRun.untilGone();
  const refused = vmRun.hasRefused(exit);
  if (refused && file !== null) {
    setStateAside(file, `QEMU does not load it (status ${exit.code}; its own words are above)`, log);
    vmRun = await start(null);
    exit = await vmRun.untilGone();
  }
  manager.close();
  if (exit.signal !== null) restoreTerminal();

  const ending = vmRun.ending(exit);
  const code = exitStatus(ending);
  if (refused && file !== null && verdict(ending) === 'failed-to-start') {
    // It was not the state that QEMU did not like.
    putBack(file);
  }
  const since = vmRun.stoppedAt ?? startedAt;
  const kept = file !== null && existsSync(file.path);
  log({
    event: 'exit',
    level: ['clean', 'by-itself'].includes(verdict(ending)) ? 'info' : 'warning',
    message: `${vmRun.stopSignal === null ? '' : `${vmRun.stopSignal}: `}${wordEnding(ending)}${kept ? `; the guest is saved in ${file.path}, and the next start resumes it` : ''}; ${wordSeconds(performance.now() - since)} after ${vmRun.stopSignal ?? 'the start'}, exit status ${code}`,
    facts: {
      verdict: verdict(ending), status: code, ms: Math.round(performance.now() - since),
      signal: vmRun.stopSignal, action: ending.action, cause: ending.cause, reason: ending.reason, qemu_status: ending.code, qemu_signal: ending.signal,
      ...(kept && { saved: file.path }),
    },
  });
  return code;
}
