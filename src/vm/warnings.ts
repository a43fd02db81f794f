import type { Distrusted } from './preflight.js';
import { findUnknownCommands } from '../qmp/known-commands.js';
import { shownCommand } from '../qmp/monitor-command.js';
import { waitsForConnection } from '../qemu/argv.js';
import { describeUnknownCommand, userCommands } from '../rules/resolve.js';
import type { SignalName } from '../signals/names.js';
import { formatSeconds } from '../system/duration.js';
import type { RunContext } from './context.js';
import type { ControlMonitor } from './control-monitor.js';
import type { Log } from '../log/log.js';
import type { Config } from '../options/parse.js';
import { findFaults } from '../rules/hook-faults.js';
import { allRules } from '../rules/resolve.js';
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

/** Says what is wrong with the hooks, each fault once. */
export function warnOfFaults(book: RuleBook, env: NodeJS.ProcessEnv, log: Log): void {
  for (const fault of findFaults(allRules(book), book, env)) {
    log({
      event: 'hook-fault',
      level: 'warning',
      message: fault.message,
      facts: { hook: fault.path, fix: fault.mend, mend: fault.mend },
    });
  }
}

/** A rule with a command that QEMU does not know does nothing of its own: better said now than at the signal. */
export async function warnOfUnknownCommands({ book, log }: RunContext, { client }: ControlMonitor): Promise<void> {
  const commands = userCommands(allRules(book));
  for (const command of await findUnknownCommands(client, [...commands.keys()])) {
    const signal = commands.get(command) as SignalName;
    const shown = shownCommand(command);
    const { message, fix } = describeUnknownCommand(signal, shown);
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
      ? 'does a wrapper before QEMU drop the words that come after its own ("$@")?'
      : `QEMU waits until somebody connects to ${waits}: write wait=off there`;
  const message = `QEMU has no monitor ${formatSeconds(monitorWithinMs)} after its start, and until it has, no signal reaches the guest: ${why}`;
  log({ event: 'no-monitor', level: 'warning', message, facts: { ms: monitorWithinMs } });
  return message;
}

export function warnOfWrapperThatStays({ config, log }: RunContext, pid: number): void {
  const [wrapper = ''] = config.qemu;
  log({
    event: 'wrapper',
    level: 'warning',
    message: `${wrapper} (pid ${pid}) has not ended ${formatSeconds(config.killAfterMs)} after its QEMU: ended by SIGKILL`,
    facts: { wrapper },
  });
}

export function warnOfDistrust({ path, fault }: Distrusted, log: Log): void {
  log({
    event: 'state-distrusted',
    level: 'warning',
    message: `state directory ${path}: ${fault.what}: no guest is saved there or resumed, and no history kept; mend it: ${fault.mend}`,
    facts: { path, fix: fault.mend },
  });
}
