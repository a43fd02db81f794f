import { closeSync, openSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';

/*
 * What /proc says of processes (proc(5)).
 */

/** A living process, from /proc/PID/stat. */
export interface Process {
  readonly pid: number;
  readonly parent: number;
  readonly group: number;
  readonly session: number;
  /** In ticks since the host's boot. */
  readonly startTime: number;
}

/** Ticks in a second: USER_HZ, which is 100 on every Linux that Node runs on (time(7)). */
const ticks = 100;

/** Held so that there is one when all others are taken: what a hook has left can only be found through /proc. */
let spare: number | null = null;

/** Sets a descriptor aside. */
export function keepSpareDescriptor(): void {
  try {
    spare ??= openSync('/dev/null', 'r');
  } catch {
    // None to set aside.
  }
}

function isShortage(error: unknown): boolean {
  return ['EMFILE', 'ENFILE', 'ENOMEM'].includes((error as NodeJS.ErrnoException).code ?? '');
}

/** Does what needs one descriptor for as long as it takes, with the spare one where there is no other. */
function withDescriptor<T>(use: () => T): T {
  try {
    return use();
  } catch (error) {
    if (spare === null || !isShortage(error)) throw error;
    closeSync(spare);
    spare = null;
    try {
      return use();
    } finally {
      keepSpareDescriptor();
    }
  }
}

/** The pids of all processes. */
export function listProcesses(): number[] {
  return withDescriptor(() => readdirSync('/proc')).map(Number).filter((pid) => pid > 0);
}

/**
 * A file of a process; `null` where the process has gone, or the file is not for this user.
 * @throws NodeJS.ErrnoException for want of a descriptor, which says nothing about the process
 */
export function readOf(pid: number, file: 'stat' | 'environ' | 'limits' | 'cmdline'): string | null {
  try {
    return withDescriptor(() => readFileSync(`/proc/${pid}/${file}`, 'utf8'));
  } catch (error) {
    if (isShortage(error)) throw error;
    return null;
  }
}

/** Whether there is a process `pid`, or a group `-pid`, a zombie included; needs no descriptor. */
export function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/**
 * @returns `null` where it has gone or is a zombie, which only waits to be reaped
 * @throws NodeJS.ErrnoException for want of a descriptor
 */
export function readProcess(pid: number): Process | null {
  const stat = readOf(pid, 'stat');
  if (stat === null) return null;
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, parent, group, session] = fields;
  if (state === 'Z' || state === 'X') return null;
  return { pid, parent: Number(parent), group: Number(group), session: Number(session), startTime: Number(fields[19]) };
}

/** A process and its start time, so that a pid used anew is not taken for the old one. */
export function identify(pid: number): string | null {
  const process = readProcess(pid);
  return process === null ? null : `${pid} ${process.startTime}`;
}

/** What {@link identify} said of a process, from the file where it was kept; `''` where there is none. */
export function readIdentity(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** Whether that very process lives; where /proc cannot be read, whether any does by its pid. */
export function isIdentityAlive(identity: string): boolean {
  if (identity === '') return false;
  try {
    return identify(pidOf(identity)) === identity;
  } catch {
    return exists(pidOf(identity));
  }
}

export function pidOf(identity: string): number {
  return Number(identity.split(' ')[0]);
}

/** How long a process has been there, in milliseconds. */
export function ageMs({ startTime }: Process): number {
  const uptime = Number(readFileSync('/proc/uptime', 'latin1').split(' ')[0]);
  return Math.max(0, uptime - startTime / ticks) * 1000;
}

/** The words it was executed with; none where they cannot be read. */
export function commandLine(pid: number): string[] {
  return readOf(pid, 'cmdline')?.split('\0').slice(0, -1) ?? [];
}

/**
 * Whether its environment holds each of `variables`, written NAME=VALUE.
 * @throws NodeJS.ErrnoException for want of a descriptor
 */
export function hasInEnvironment(pid: number, ...variables: readonly string[]): boolean {
  const environment = readOf(pid, 'environ');
  return environment !== null && variables.every((variable) => `\0${environment}`.includes(`\0${variable}\0`));
}

/** What the descriptor `fd` of a process leads to, or `''`. */
export function descriptorTarget(pid: number | 'self', fd: number | string): string {
  try {
    return readlinkSync(`/proc/${pid}/fd/${fd}`);
  } catch {
    return '';
  }
}
