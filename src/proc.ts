import { readFileSync, readlinkSync } from 'node:fs';

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

/** @returns `null` where it has gone or is a zombie, which only waits to be reaped */
export function readProcess(pid: number): Process | null {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return null;
  }
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

/** Whether that very process lives. */
export function isIdentityAlive(identity: string): boolean {
  return identity !== '' && identify(pidOf(identity)) === identity;
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
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
  } catch {
    return [];
  }
}

/** Whether its environment holds each of `variables`, written NAME=VALUE. */
export function hasInEnvironment(pid: number, ...variables: readonly string[]): boolean {
  try {
    const environment = `\0${readFileSync(`/proc/${pid}/environ`, 'utf8')}`;
    return variables.every((variable) => environment.includes(`\0${variable}\0`));
  } catch {
    return false;
  }
}

/** What the descriptor `fd` of a process leads to, or `''`. */
export function descriptorTarget(pid: number | 'self', fd: number | string): string {
  try {
    return readlinkSync(`/proc/${pid}/fd/${fd}`);
  } catch {
    return '';
  }
}
