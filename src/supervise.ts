import { closeSync, fstatSync, writeFileSync } from 'node:fs';
import { onExit } from 'signal-exit';
import type { Config } from './args.js';
import { closeUnmarked, isInheritedFd, withoutInheritance } from './descriptors.js';
import { exitStatus } from './exit-status.js';
import { findFaults } from './faults.js';
import { inheritedEnvironment } from './hook/environment.js';
import type { Log } from './log.js';
import { verdict, wordEnding } from './outcome.js';
import { changesUser, daemonizes, namedFds } from './qemu/command-line.js';
import { monitorsConfig, planLaunch, type Monitors } from './qemu/launch.js';
import { startQemu } from './qemu/process.js';
import { findHelpers, requireQemu } from './qemu/programs.js';
import { openRunDir } from './qemu/run-dir.js';
import { ruleFor, type RuleBook } from './rules.js';
import { wordSeconds } from './seconds.js';
import { trappableSignals, type SignalName } from './signals.js';
import { rememberTerminal } from './terminal.js';
import { errorText, UsageError } from './usage-error.js';
import { VmRun, type Launched } from './vm-run.js';

/** The sockets in the run directory: a hook's own for each signal that has one, and the spare ones. */
function placeMonitors(hooked: readonly SignalName[], file: (name: string) => string): Monitors {
  return {
    hooks: new Map(hooked.map((signal) => [signal, file(`hook-${signal}.sock`)])),
    lateHooks: file('hook-late.sock'),
    qmp: file('qmp.sock'),
    human: file('monitor.sock'),
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
  if (config.readyFd !== null) {
    try {
      fstatSync(config.readyFd);
    } catch {
      throw new UsageError(`--ready-fd ${config.readyFd}: no such file descriptor is open: open it in the shell (${config.readyFd}>FILE), or let the service manager`);
    }
  }
  requireQemu(config.qemu[0] ?? '', env);
  return config.readyFd === null ? null : withoutInheritance(config.readyFd);
}

/** Starts QEMU with monitors of qemu-trap's own. Until it runs, an error ends the program; after that none does. */
async function launch(config: Config, vm: string, readyFd: number | null, hooked: readonly SignalName[], env: NodeJS.ProcessEnv, log: Log): Promise<Launched> {
  const names: string[] = [];
  placeMonitors(hooked, (name) => (names.push(name), name));
  const runDir = openRunDir(config.runDir, vm, env, names);
  try {
    const monitors = placeMonitors(hooked, runDir.file);
    const helpers = findHelpers(env);
    const fds = namedFds(config.qemu).filter((fd) => fd !== readyFd && isInheritedFd(fd));
    closeUnmarked(readyFd === null ? fds : [...fds, readyFd]);
    const plan = planLaunch({
      qemu: config.qemu,
      shield: config.shield,
      dieWithParent: true,
      helpers,
      fds,
      monitorsFile: runDir.file('monitors.cfg'),
    });
    writeFileSync(runDir.file('monitors.cfg'), monitorsConfig(plan.controlFd, monitors), { mode: 0o600 });
    if (plan.detached) {
      log({ event: 'partial-shield', level: 'warning', message: 'the shield is partial: env(1) here has no --block-signal (GNU coreutils 8.31 has), so QEMU gets a session of its own; a signal sent to QEMU itself still reaches it' });
    }
    if (helpers.setpriv === null) {
      log({ event: 'no-pdeathsig', level: 'warning', message: 'QEMU will outlive a SIGKILL of qemu-trap: setpriv(1) of util-linux, which ties the two together, is not here' });
    } else if (changesUser(config.qemu)) {
      log({ event: 'no-pdeathsig', level: 'warning', message: 'QEMU will outlive a SIGKILL of qemu-trap: it changes its user (-runas, -run-with user=), which unties the two' });
    }
    const qemu = await startQemu(plan, inheritedEnvironment(env));
    for (const fd of fds) closeSync(fd);
    return { qemu, monitors, runDir };
  } catch (error) {
    runDir.remove();
    throw error instanceof UsageError ? error : new UsageError(`QEMU cannot be started (${(error as NodeJS.ErrnoException).code ?? errorText(error)})`);
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
  const rules = trappableSignals.map((signal) => ruleFor(signal, book));
  for (const fault of findFaults(rules, book)) {
    log({ event: 'hook-fault', level: 'warning', message: fault.message, facts: { hook: fault.path, mend: fault.mend } });
  }
  const hooked = rules.filter((rule) => rule.script !== null).map((rule) => rule.signal);
  const restoreTerminal = rememberTerminal();
  const launched = await launch(config, vm, readyFd, hooked, env, log);
  // Whatever ends the program before its time: no socket and no lock is left behind.
  onExit(() => launched.runDir.remove());
  const startedAt = performance.now();
  log({ event: 'start', level: 'info', message: `QEMU started (pid ${launched.qemu.pid})`, facts: { pid: launched.qemu.pid } });

  const vmRun = new VmRun(config, vm, book, log, launched, readyFd);
  process.on('uncaughtException', (error) => vmRun.survive(error));
  process.on('unhandledRejection', (error) => vmRun.survive(error));
  const exit = await vmRun.untilGone();
  if (exit.signal !== null) restoreTerminal();

  const ending = vmRun.ending(exit);
  const code = exitStatus(ending);
  const since = vmRun.stoppedAt ?? startedAt;
  log({
    event: 'exit',
    level: ['clean', 'by-itself'].includes(verdict(ending)) ? 'info' : 'warning',
    message: `${vmRun.stopSignal === null ? '' : `${vmRun.stopSignal}: `}${wordEnding(ending)}; ${wordSeconds(performance.now() - since)} after ${vmRun.stopSignal ?? 'the start'}, exit status ${code}`,
    facts: {
      verdict: verdict(ending), status: code, ms: Math.round(performance.now() - since),
      signal: vmRun.stopSignal, action: ending.action, cause: ending.cause, reason: ending.reason, qemu_status: ending.code, qemu_signal: ending.signal,
    },
  });
  return code;
}

