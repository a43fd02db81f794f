import { dirname } from 'node:path';
import type { SignalName } from '../signals/names.js';
import { runIdVariable } from '../system/own-environment.js';

/** The most that every shell can reckon with: there is no deadline. */
const longestSeconds = 2 ** 31 - 1;

/** What a hook is told, besides what qemu-trap's own environment says. */
export interface HookFacts {
  /** What is so of this run only, by variable. */
  readonly occasion: Readonly<Record<string, string>>;
  readonly vm: string;
  /** The file that runs. */
  readonly hook: string;
  readonly hooksDir: string;
  /** The folder of the `qmp` command. */
  readonly libDir: string;
  /** Time left, in milliseconds; Infinity: the guest is never forced. */
  readonly leftMs: number;
  /** As `--press` has it. */
  readonly press: string;
  /** Of the QEMU guest agent, if the user has named one. */
  readonly agent: string | null;
  readonly runDir: string;
  /** Where a saved guest is looked for at the next start; `null` if nowhere. */
  readonly stateFile: string | null;
  /** Marks all that the hook starts, whatever its parent, group or session. */
  readonly runId: string;
}

/** What the hook of a signal is told of its occasion; its monitor is fd 3. */
export function signalOccasion(
  signal: SignalName,
  qemuPid: number,
  monitors: { readonly qmp: string; readonly human: string },
): HookFacts['occasion'] {
  return { ...monitorOccasion(qemuPid, monitors), QEMU_TRAP_SIGNAL: signal };
}

function monitorOccasion(
  qemuPid: number,
  { qmp, human }: { readonly qmp: string; readonly human: string },
): HookFacts['occasion'] {
  return { QMP_FD: '3', QMP_SOCKET: qmp, MONITOR_SOCKET: human, QEMU_TRAP_QEMU_PID: String(qemuPid) };
}

/** The variables that lead to a monitor. */
const monitorVariables = ['QMP_FD', 'QMP_SOCKET', 'MONITOR_SOCKET'] as const;

/**
 * What the hook of an event, or `ready`, is told of its occasion. What the guest has a part in is on its stdin only.
 * @param count how often the event came; `null` if it is of none
 */
export function eventOccasion(
  count: number | null,
  qemuPid: number,
  monitors: { readonly qmp: string; readonly human: string },
): HookFacts['occasion'] {
  return {
    ...monitorOccasion(qemuPid, monitors),
    ...(count !== null && { QEMU_TRAP_COUNT: String(count) }),
  };
}

export function randomDigits(): string {
  return Math.floor(Math.random() * 2 ** 52)
    .toString(16)
    .padStart(13, '0');
}

/** how every run id of this qemu-trap begins: in a container the one before it may have had the same pid. */
export const runIdPrefix = randomDigits();

/** The variables that say which qemu-trap a hook is of. */
export const pidVariable = 'QEMU_TRAP_PID';
export const runDirVariable = 'QEMU_TRAP_RUN_DIR';

/** Variables of qemu-trap's own that neither QEMU nor a hook is to act on. */
const notInherited = ['NOTIFY_SOCKET'];

/** The environment that QEMU gets. */
export function inheritedEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const inherited = { ...env };
  for (const name of notInherited) delete inherited[name];
  return inherited;
}

/** For a hook that has no monitor. */
export function withoutMonitor<T>(env: Readonly<Record<string, T>>): Record<string, T> {
  const without = { ...env };
  for (const name of monitorVariables) delete without[name];
  return without;
}

/** A hook's $PATH: the folder of the `qmp` command, then what qemu-trap itself has. */
export function hookPath(libDir: string, inherited: NodeJS.ProcessEnv): string {
  return `${libDir}:${inherited['PATH'] ?? '/usr/local/bin:/usr/bin:/bin'}`;
}

/** The environment that a hook gets: the contract of qemu-trap with its hooks. */
export function hookEnvironment(facts: HookFacts, inherited: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return {
    ...inherited,
    PATH: hookPath(facts.libDir, inherited),
    ...facts.occasion,
    QEMU_TRAP_VM: facts.vm,
    QEMU_TRAP_BUNDLED: dirname(facts.libDir),
    [pidVariable]: String(process.pid),
    QEMU_TRAP_HOOK: facts.hook,
    QEMU_TRAP_HOOKS: facts.hooksDir,
    QEMU_TRAP_TIMEOUT: String(Math.min(longestSeconds, Math.max(0, Math.ceil(facts.leftMs / 1000)))),
    QEMU_TRAP_PRESS: facts.press,
    [runDirVariable]: facts.runDir,
    ...(facts.stateFile !== null && { QEMU_TRAP_STATE: facts.stateFile }),
    ...(facts.agent !== null && { QEMU_TRAP_AGENT: facts.agent }),
    [runIdVariable]: facts.runId,
  };
}
