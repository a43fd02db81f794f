import type { Distrusted } from './preflight.js';
import { findUnknownCommands } from '../qmp/known-commands.js';
import { shownCommand } from '../qmp/monitor-command.js';
import { waitsForConnection } from '../qemu/argv.js';
import { allRules, describeNoTime, describeUnknownCommand, userCommands } from '../rules/resolve.js';
import type { SignalName } from '../signals/names.js';
import { formatSeconds } from '../system/duration.js';
import type { RunContext } from './context.js';
import type { ControlMonitor } from './control-monitor.js';
import type { Log } from '../log/log.js';
import type { Config } from '../options/command.js';
import { findFaults } from '../rules/hook-faults.js';
import type { RuleBook } from '../rules/rule.js';
import { hasProc } from '../system/processes.js';
import { outlives } from './launch.js';
import type { Workspace } from './workspace.js';

/** Says what this system, or QEMU's own options, take away from the promises. */
export function warnOfLimits(config: Config, { helpers, runDir, terminal }: Workspace, log: Log): void {
  if (terminal === 'background') {
    log({
      event: 'no-stdin',
      level: 'warning',
      message:
        'QEMU uses the terminal, but qemu-trap was started in the background; QEMU gets no stdin, because the kernel would stop it at its first read',
    });
  }
  if (runDir.weakLock !== null) {
    log({
      event: 'weak-lock',
      level: 'warning',
      message: `the lock of the run directory does not hold across pid namespaces, because a kernel lock is not possible (${runDir.weakLock})`,
    });
  }
  if (!hasProc()) {
    log({
      event: 'no-proc',
      level: 'warning',
      message:
        '/proc is not mounted: qemu-trap cannot find processes that hooks leave behind, or a QEMU to take over; qemu-trap --status does not work',
    });
  }
  if (config.shield && helpers.env === null) {
    log({
      event: 'partial-shield',
      level: 'warning',
      message:
        'the shield is partial, because env(1) has no --block-signal (GNU coreutils 8.31 has it); QEMU gets a session of its own, but a signal sent to QEMU itself still reaches it',
    });
  }
  if (config.onDeath === 'kill' && outlives(config, helpers)) {
    const why =
      helpers.setpriv === null
        ? 'setpriv(1) of util-linux, which ties QEMU to qemu-trap, is not installed'
        : 'it changes its user (-runas, -run-with user=), which unties it from qemu-trap';
    log({
      event: 'no-pdeathsig',
      level: 'warning',
      message: `QEMU will keep running if qemu-trap is killed (SIGKILL), as with --on-death keep: ${why}${runDir.isLasting ? '' : '; name a directory with --run-dir, or the next start will not find it'}`,
    });
  }
}

/** Says what is wrong with the hooks, each fault once, and that a timeout of 0 leaves the guest no time. */
export function warnOfRules(book: RuleBook, env: NodeJS.ProcessEnv, log: Log): void {
  const rules = allRules(book);
  for (const fault of findFaults(rules, book, env, null).filter(({ isFault }) => isFault)) {
    log({
      event: 'hook-fault',
      level: 'warning',
      message: fault.message,
      facts: { hook: fault.path, fix: fault.fix, mend: fault.fix },
    });
  }
  const noTime = describeNoTime(rules);
  if (noTime !== null) log({ event: 'no-time', level: 'warning', message: noTime.message, facts: { fix: noTime.fix } });
}

/** A rule with a command that QEMU does not know does nothing of its own: better said now than at the signal. */
export async function warnOfUnknownCommands({ book, log }: RunContext, { client }: ControlMonitor): Promise<void> {
  const commands = userCommands(allRules(book));
  for (const { line: command, meant } of await findUnknownCommands(client, [...commands.keys()])) {
    const signal = commands.get(command) as SignalName;
    const shown = shownCommand(command);
    const { message, fix } = describeUnknownCommand(signal, shown, meant);
    log({ event: 'unknown-command', level: 'warning', message, facts: { signal, command: shown, fix } });
  }
}

/** A QEMU that is slow to start has its monitor in a second or two. */
export const monitorWithinMs = 10_000;

/** @returns what should be looked after */
export function warnOfNoMonitor({ config, log }: RunContext): string {
  const waits = waitsForConnection(config.qemu);
  const why =
    waits === null
      ? 'does a wrapper in front of QEMU drop the arguments after its own ("$@")?'
      : `QEMU waits for a connection to ${waits}: add wait=off to it`;
  const message = `QEMU has no monitor ${formatSeconds(monitorWithinMs)} after its start; until it has one, no signal reaches the guest: ${why}`;
  log({ event: 'no-monitor', level: 'warning', message, facts: { ms: monitorWithinMs } });
  return message;
}

export function warnOfWrapperThatStays({ config, log }: RunContext, pid: number): void {
  const [wrapper = ''] = config.qemu;
  log({
    event: 'wrapper',
    level: 'warning',
    message: `${wrapper} (pid ${pid}) was still running ${formatSeconds(config.killAfterMs)} after QEMU had exited; killed it with SIGKILL`,
    facts: { wrapper },
  });
}

export function warnOfDistrust({ path, fault }: Distrusted, log: Log): void {
  log({
    event: 'state-distrusted',
    level: 'warning',
    message: `state directory ${path}: ${fault.what}; no guest is saved or resumed there, and no history is kept; fix: ${fault.fix}`,
    facts: { path, fix: fault.fix },
  });
}
