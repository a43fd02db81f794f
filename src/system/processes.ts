import { closeSync, existsSync, openSync, readFileSync, readSync, readdirSync, readlinkSync } from 'node:fs';
import { isShortage, withDescriptor } from './spare-descriptor.js';

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

/** Whether there is a /proc to ask. */
export function hasProc(): boolean {
  return existsSync('/proc/self/stat');
}

/** Ticks in a second: USER_HZ, which is 100 on every Linux that Node runs on (time(7)). */
const ticks = 100;

/** The pids of all processes. */
export function listProcesses(): number[] {
  return withDescriptor(() => readdirSync('/proc'))
    .map(Number)
    .filter((pid) => pid > 0);
}

/** Where files of /proc are read to: a search reads some of every process of the host, and must leave no garbage of that size. */
let scratch = Buffer.allocUnsafeSlow(64 * 1024);

/** Reads a file to {@link scratch}, after a byte that stands for the end of what would be before it. */
function readToScratch(path: string): Buffer {
  const fd = openSync(path, 'r');
  try {
    scratch[0] = 0;
    for (let length = 1; ; ) {
      const got = readSync(fd, scratch, length, scratch.length - length, null);
      length += got;
      if (got === 0) return scratch.subarray(1, length);
      if (length === scratch.length) scratch = Buffer.concat([scratch], 2 * length);
    }
  } finally {
    closeSync(fd);
  }
}

type ProcessFile = 'stat' | 'status' | 'environ' | 'cmdline';

/**
 * A file of a process, valid until the next is read; `null` if the process has gone, or the file is not for this
 * user.
 * @throws NodeJS.ErrnoException for want of a descriptor, which says nothing about the process
 */
function bytesOf(pid: number, file: ProcessFile): Buffer | null {
  try {
    return withDescriptor(() => readToScratch(`/proc/${pid}/${file}`));
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
 * @returns `null` if it has exited or is a zombie, which only waits to be reaped
 * @throws NodeJS.ErrnoException for want of a descriptor
 */
export function readProcess(pid: number): Process | null {
  const stat = bytesOf(pid, 'stat')?.toString('latin1');
  if (stat === undefined) return null;
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, parent, group, session] = fields;
  // A first thread that has ended looks like a zombie while others go on.
  if ((state === 'Z' || state === 'X') && Number(fields[17]) <= 1) return null;
  return { pid, parent: Number(parent), group: Number(group), session: Number(session), startTime: Number(fields[19]) };
}

/** The fields of /proc/PID/status (proc(5)), as far as they can be read. */
function statusOf(pid: number): (field: 'Uid' | 'CapPrm') => string | undefined {
  const text = bytesOf(pid, 'status')?.toString('latin1') ?? '';
  return (field) => new RegExp(`^${field}:\\s*(.*)$`, 'm').exec(text)?.[1];
}

/** The effective user of a process; `null` if it has exited, or that is not for us to know. */
export function userOf(pid: number): number | null {
  const effective = statusOf(pid)('Uid')?.split(/\s+/)[1];
  return effective === undefined ? null : Number(effective);
}

/** As many generations as anybody would put between qemu-trap and its QEMU. */
const mostGenerations = 32;

/** Whether a process comes from `ancestor`: by itself, from this one. */
export function isDescendant(pid: number, ancestor: number = process.pid): boolean {
  let at = pid;
  for (let i = 0; i < mostGenerations && at > 1; i++) {
    at = readProcess(at)?.parent ?? 0;
    if (at === ancestor) return true;
  }
  return false;
}

/**
 * Whether a process has another user, or capabilities that we have not: then an execve(2) gave them to it, which
 * clears its parent-death signal (prctl(2)). False if that cannot be read.
 */
export function hasMoreRights(pid: number): boolean {
  const rights = (of: number): { users: string; capabilities: bigint } | null => {
    const status = statusOf(of);
    const [users, capabilities] = [status('Uid'), status('CapPrm')];
    return users === undefined || capabilities === undefined
      ? null
      : { users, capabilities: BigInt(`0x${capabilities}`) };
  };
  const [ours, theirs] = [rights(process.pid), rights(pid)];
  if (ours === null || theirs === null) return false;
  return theirs.users !== ours.users || (theirs.capabilities & ~ours.capabilities) !== 0n;
}

/** Whether SIGSTOP, or its like of a terminal, holds a process; one that a debugger holds has another state (proc(5)). */
export function isStopped(pid: number): boolean {
  try {
    const stat = bytesOf(pid, 'stat')?.toString('latin1') ?? '';
    return stat.slice(stat.lastIndexOf(')') + 2).startsWith('T');
  } catch {
    return false;
  }
}

let ownStartTime: number | null = null;

/**
 * A time no later than `ms` milliseconds after this process's start, in the ticks of {@link Process.startTime}. That
 * clock goes on while the host sleeps, and `performance.now()` does not: then it is earlier, and never later.
 * @throws NodeJS.ErrnoException for want of a descriptor
 */
export function inTicks(ms: number): number {
  ownStartTime ??= readProcess(process.pid)?.startTime ?? 0;
  return ownStartTime + Math.floor((ms / 1000) * ticks);
}

/** How long a process has been there, in milliseconds. */
export function ageMs({ startTime }: Process): number {
  const uptime = Number(readFileSync('/proc/uptime', 'latin1').split(' ')[0]);
  return Math.max(0, uptime - startTime / ticks) * 1000;
}

/** The words it was executed with; none if they cannot be read. */
export function commandLine(pid: number): string[] {
  return bytesOf(pid, 'cmdline')?.toString('utf8').split('\0').slice(0, -1) ?? [];
}

/** A variable of an environment, NAME=VALUE; or the beginning of any that starts like it. */
type Variable = { readonly bytes: Buffer };

export function variable(name: string, value: string): Variable {
  return { bytes: Buffer.from(`\0${name}=${value}\0`) };
}

export function anyValueOf(name: string, beginning = ''): Variable {
  return { bytes: Buffer.from(`\0${name}=${beginning}`) };
}

/** What a process was executed with; valid until the next file of a process is read. */
interface Environment {
  /** Nothing can be read of it: it has none, or is in the middle of its execve(2), or is not for us to know. */
  readonly isEmpty: boolean;
  has(variable: Variable): boolean;
}

/** @throws NodeJS.ErrnoException for want of a descriptor */
export function environmentOf(pid: number): Environment {
  const length = bytesOf(pid, 'environ')?.length ?? 0;
  const whole = scratch.subarray(0, length + 1);
  return { isEmpty: length === 0, has: ({ bytes }) => length > 0 && whole.includes(bytes) };
}

/**
 * Whether a process has all of `wanted` in its environment; false if that cannot be read.
 * @throws NodeJS.ErrnoException for want of a descriptor
 */
export function hasInEnvironment(pid: number, ...wanted: readonly Variable[]): boolean {
  const environment = environmentOf(pid);
  return wanted.every((variable) => environment.has(variable));
}

/** What the descriptor `fd` of a process leads to, or `''`. */
export function descriptorTarget(pid: number | 'self', fd: number | string): string {
  try {
    return readlinkSync(`/proc/${pid}/fd/${fd}`);
  } catch {
    return '';
  }
}
