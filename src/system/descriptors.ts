import { closeSync, constants, fstatSync, openSync, readFileSync, readdirSync, type Stats } from 'node:fs';
import { descriptorTarget } from './processes.js';

/*
 * The descriptors that qemu-trap was started with, from 3 up. They are QEMU's: it gets each under its own number, as a
 * bare QEMU would. Hooks and helpers get none of them.
 *
 * libuv marks them close-on-exec when Node starts, from 3 up to the first gap at or after 16
 * (uv_disable_stdio_inheritance). Beyond that gap they stay as they are, and every child inherits them; Node has no way
 * to mark them.
 */

const lowest = 3;

/** Of open(2): a hold on the very file, without the right to read it; Node has no name for it. */
export const O_PATH = 0o10000000;

/** O_CLOEXEC in the flags of /proc/PID/fdinfo/FD (proc(5)); Node sets it on all of its own. */
const O_CLOEXEC = 0o2000000;
const accessMode = constants.O_RDONLY | constants.O_WRONLY | constants.O_RDWR;

/** The flags of open(2), with O_CLOEXEC; `null` if they cannot be known. */
function flagsOf(fd: number): number | null {
  try {
    const flags = /^flags:\s*([0-7]+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1];
    return flags === undefined ? null : Number.parseInt(flags, 8);
  } catch {
    return null;
  }
}

function isOpen(fd: number): boolean {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false;
  }
}

/** `null` if it cannot be known. */
function isMarked(fd: number): boolean | null {
  const flags = flagsOf(fd);
  return flags === null ? null : (flags & O_CLOEXEC) !== 0;
}

/** `null` if it cannot be known. */
export function isWritable(fd: number): boolean | null {
  const flags = flagsOf(fd);
  return flags === null ? null : (flags & accessMode) !== constants.O_RDONLY;
}

/**
 * What is open now; nothing if /proc is not there to tell. The listing has a descriptor of its own while it is made,
 * which is closed again.
 * @throws NodeJS.ErrnoException for want of a descriptor
 */
function listOpen(): number[] {
  let names: string[];
  try {
    names = readdirSync('/proc/self/fd');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return names
    .map(Number)
    .filter((fd) => fd >= lowest && isOpen(fd))
    .sort((a, b) => a - b);
}

/** The channel of a parent that is Node too: this Node speaks on it itself. */
function channelOfParent(): number | null {
  if (process.channel === undefined) return null;
  try {
    // Node removes it from its own environment, and not from what the kernel keeps.
    const fd = /\0NODE_CHANNEL_FD=(\d+)\0/.exec(`\0${readFileSync('/proc/self/environ', 'latin1')}`)?.[1];
    return fd === undefined ? null : Number(fd);
  } catch {
    return null;
  }
}

/** Of epoll(7), eventfd(2) and the like, whatever they are called: fstat(2) gives them no type. */
const isAnonymous = ({ mode }: Stats): boolean => (mode & constants.S_IFMT) === 0;

/**
 * Those of `open` that Node has made for itself: what it waits with, and pipes that have both ends here. It marks all of
 * them. What cannot be known counts as Node's: QEMU does without it, and Node cannot.
 */
function findNodesOwn(open: readonly number[]): Set<number> {
  const own = new Set<number>();
  const ends = new Map<number, number[]>();
  for (const fd of open.filter((each) => isMarked(each) !== false)) {
    const stat = fstatSync(fd);
    if (
      isAnonymous(stat) &&
      /^$|^anon_inode:\[(eventpoll|eventfd|io_uring|timerfd)\]/.test(descriptorTarget('self', fd))
    )
      own.add(fd);
    if (stat.isFIFO()) ends.set(stat.ino, [...(ends.get(stat.ino) ?? []), fd]);
  }
  for (const fds of ends.values()) {
    const isOneWay = new Set(fds.map(isWritable)).size === 1 && isWritable(fds[0] as number) !== null;
    if (fds.length > 1 && !isOneWay) for (const fd of fds) own.add(fd);
  }
  const channel = channelOfParent();
  if (channel !== null) own.add(channel);
  return own;
}

/** Still open here. Looked up when this module is loaded, before qemu-trap opens anything. */
let inherited: readonly number[] = [];
/** Those of them that children may inherit without being told to: all but what Node has surely marked. */
let unmarked: readonly number[] = [];
/** Those of them that children surely do. */
let surelyUnmarked: readonly number[] = [];
/** Stands for an unmarked one in a child that is not to have it. */
let devNull: number | null = null;

function lookUp(): void {
  const open = listOpen();
  const own = findNodesOwn(open);
  inherited = open.filter((fd) => !own.has(fd));
  unmarked = inherited.filter((fd) => isMarked(fd) !== true);
  surelyUnmarked = unmarked.filter((fd) => isMarked(fd) === false);
  if (unmarked.length > 0) devNull = openSync('/dev/null', constants.O_RDWR);
}

/** Why the look-up failed: for want of a descriptor, as a rule. */
let failure: unknown = null;
try {
  lookUp();
} catch (error) {
  failure = error;
}

/**
 * The descriptors from 3 up that qemu-trap was started with and still holds, in ascending order.
 * @throws NodeJS.ErrnoException if there was none to spare at the start
 */
export function inheritedDescriptors(): readonly number[] {
  if (failure !== null) throw failure;
  return inherited;
}

/** True if children surely inherit `fd` without being told to. */
export function isUnmarked(fd: number): boolean {
  return surelyUnmarked.includes(fd);
}

/** libuv duplicates each entry of `stdio` past the last one, before it puts them under their numbers (uv_spawn): a few. */
const duplicates = 8;

/** The lowest number that cannot be asked for in a child, by the limit on this process (RLIMIT_NOFILE of getrlimit(2)). */
export function descriptorLimit(): number {
  try {
    const soft = /^Max open files\s+(\d+|unlimited)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1];
    return soft === undefined || soft === 'unlimited' ? Infinity : Number(soft) - duplicates;
  } catch {
    return Infinity;
  }
}

/** An entry of Node's `stdio` for a child. */
export type Stdio = 'inherit' | 'ignore' | 'pipe' | number;

/**
 * A child's `stdio` with /dev/null under each number of `hidden` that the child would inherit and is not given
 * anything under.
 */
export function hiding<T>(stdio: readonly (T | Stdio)[], hidden: readonly number[] = unmarked): (T | Stdio)[] {
  const covered = [...stdio];
  if (hidden.length === 0) return covered;
  const limit = descriptorLimit() - hidden.length;
  for (const fd of hidden) {
    // A number close to the limit, or above one that was lowered after it was opened, cannot be covered.
    if (devNull === null || !unmarked.includes(fd) || fd >= limit) continue;
    while (covered.length <= fd) covered.push('ignore');
    if (covered[fd] === 'ignore') covered[fd] = devNull;
  }
  return covered;
}

/** Closes `fd`, which is not for QEMU. */
export function closeInherited(fd: number): void {
  closeSync(fd);
  inherited = inherited.filter((each) => each !== fd);
  unmarked = unmarked.filter((each) => each !== fd);
}

/** Closes all that QEMU has now, but for `except`: the process at the other end waits for QEMU's end alone. */
export function releaseInherited(except: number | null): void {
  for (const fd of inherited) if (fd !== except) closeInherited(fd);
  if (devNull !== null && unmarked.length === 0) {
    closeSync(devNull);
    devNull = null;
  }
}
