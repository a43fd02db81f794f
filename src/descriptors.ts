import { closeSync, constants, openSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';

/*
 * Descriptors that qemu-trap was started with. libuv marks the lowest ones close-on-exec when Node starts, and stops
 * at the first gap after number 15 (uv_disable_stdio_inheritance): what lies beyond would reach QEMU and every hook.
 */

const lowestUnmarked = 16;
/** O_CLOEXEC in the flags of /proc/PID/fdinfo/FD (proc(5)); Node sets it on all of its own. */
const O_CLOEXEC = 0o2000000;

function isUnmarked(fd: number): boolean {
  try {
    const flags = /^flags:\s*([0-7]+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1];
    return flags !== undefined && (Number.parseInt(flags, 8) & O_CLOEXEC) === 0;
  } catch {
    return false;
  }
}

/** True where `fd` was open before Node was, as far as can be told: Node's own are epoll, eventfd and the like. */
export function isInheritedFd(fd: number): boolean {
  try {
    return !/^anon_inode:\[(eventpoll|eventfd|io_uring|timerfd)\]/.test(readlinkSync(`/proc/self/fd/${fd}`));
  } catch {
    return false;
  }
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
