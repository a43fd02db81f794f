import { closeSync, constants, fstatSync, openSync, readFileSync, readdirSync } from 'node:fs';
import { descriptorTarget } from './proc.js';

/*
 * Descriptors that qemu-trap was started with. libuv marks the lowest ones close-on-exec when Node starts, and stops
 * at the first gap after number 15 (uv_disable_stdio_inheritance): what lies beyond would reach QEMU and every hook.
 */

const lowestUnmarked = 16;
/** O_CLOEXEC in the flags of /proc/PID/fdinfo/FD (proc(5)); Node sets it on all of its own. */
const O_CLOEXEC = 0o2000000;

/**
 * The flags of open(2), with O_CLOEXEC.
 * @throws NodeJS.ErrnoException where it is not open
 */
export function flagsOf(fd: number): number {
  const flags = /^flags:\s*([0-7]+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1];
  return Number.parseInt(flags ?? '0', 8);
}

function isUnmarked(fd: number): boolean {
  try {
    return (flagsOf(fd) & O_CLOEXEC) === 0;
  } catch {
    return false;
  }
}

/** What was open before qemu-trap opened anything: the descriptors that it was started with, and Node's own. */
const openAtStart: readonly number[] = readdirSync('/proc/self/fd').map(Number);

/** A pipe that Node talks to itself through: both its ends are here, and it is younger than the process. */
function isNodesPipe(fd: number): boolean {
  const pipe = descriptorTarget('self', fd);
  const isPair = openAtStart.filter((each) => descriptorTarget('self', each) === pipe).length > 1;
  return pipe.startsWith('pipe:') && isPair && fstatSync(fd).ctimeMs > performance.timeOrigin;
}

/** True where `fd` was open before Node was; its own are epoll, eventfd and the like, and a few pipes. */
export function isInheritedFd(fd: number): boolean {
  if (!openAtStart.includes(fd) || descriptorTarget('self', fd) === '') return false;
  return !/^anon_inode:\[(eventpoll|eventfd|io_uring|timerfd)\]/.test(descriptorTarget('self', fd)) && !isNodesPipe(fd);
}

const accessMode = constants.O_RDONLY | constants.O_WRONLY | constants.O_RDWR;

export function isWritable(fd: number): boolean {
  return (flagsOf(fd) & accessMode) !== constants.O_RDONLY;
}

/** Closes what neither QEMU nor a hook is to have: Node has no way to mark it. */
export function closeUnmarked(except: readonly number[]): void {
  for (const fd of readdirSync('/proc/self/fd').map(Number)) {
    if (fd >= lowestUnmarked && !except.includes(fd) && isUnmarked(fd)) closeSync(fd);
  }
}

/**
 * The same open file under a number that no child inherits.
 * @returns `fd` itself where it is marked already, or cannot be opened anew (a socket)
 */
export function withoutInheritance(fd: number): number {
  if (fd < lowestUnmarked) return fd;
  try {
    const own = openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_APPEND);
    closeSync(fd);
    return own;
  } catch {
    return fd;
  }
}
