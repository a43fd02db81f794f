import { lstatSync, readFileSync, readlinkSync, statSync, type Stats } from 'node:fs';
import { userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { spawnSync } from './spawn.js';

/** Something wrong with a file, and the command that mends it. */
export interface Fault {
  readonly what: string;
  readonly fix: string;
}

/** A path as a shell takes it. */
export function shellQuote(path: string): string {
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;
}

/** A user without an entry in passwd has a number only. */
function ownName(uid: number): string {
  try {
    return userInfo().username;
  } catch {
    return String(uid);
  }
}

function ownerFault(path: string, stats: Stats, kind: string): Fault | null {
  const uid = process.geteuid?.() ?? 0;
  if (stats.uid === 0 || stats.uid === uid) return null;
  const owner = uid === 0 ? 'root' : ownName(uid);
  return {
    what: `${kind} belongs to user ${stats.uid}, neither root nor the user qemu-trap runs as`,
    fix: `chown ${owner} ${shellQuote(path)}`,
  };
}

/**
 * The user that stands for all whom a user namespace does not know (user_namespaces(7)), root of the host among them;
 * `null` in the first namespace, which knows all.
 */
function findOverflowUser(): number | null {
  try {
    if (/^\s*0\s+0\s+4294967295\s*$/.test(readFileSync('/proc/self/uid_map', 'latin1'))) return null;
    return Number(readFileSync('/proc/sys/kernel/overflowuid', 'latin1'));
  } catch {
    return null;
  }
}

let overflowUser: number | null | undefined;

const lsWithinMs = 5_000;

/**
 * Whether an access control list names others than owner, group and the rest: `ls -ld` shows it by a plus sign, and Node
 * cannot (acl(5)). What it lets them do at most stands in the place of the group's mode.
 */
function hasAccessList(path: string): boolean {
  const { stdout } = spawnSync('ls', ['-ld', '--', path], {
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { ...process.env, LC_ALL: 'C' },
    timeout: lsWithinMs,
    detached: true,
  });
  return /^\S{10}\+/.test(stdout ?? '');
}

/** Who, besides root and the running user, may change what `stats` is of. */
export function openToOthers(path: string, stats: Stats, kind: string): Fault | null {
  const gid = process.getegid?.() ?? 0;
  const fault = ownerFault(path, stats, kind);
  if (fault !== null) return fault;
  if (stats.mode & 0o002) return { what: `${kind} is writable by everyone`, fix: `chmod go-w ${shellQuote(path)}` };
  if (stats.mode & 0o020 && stats.gid !== gid) {
    return { what: `${kind} is writable by group ${stats.gid}`, fix: `chmod g-w ${shellQuote(path)}` };
  }
  if (stats.mode & 0o020 && hasAccessList(path)) {
    return {
      what: `${kind} is writable by others through its access control list`,
      fix: `setfacl -b ${shellQuote(path)}`,
    };
  }
  return null;
}

/**
 * Who, besides root and the running user, may put something else in the place of a file of theirs in a directory. In a
 * sticky one no user may rename another's file (inode(7)).
 */
export function openToReplacing(path: string, stats: Stats, kind: string): Fault | null {
  return ((stats.mode & sticky) === 0 ? openToOthers : ownerFault)(path, stats, kind);
}

const sticky = 0o1000;
/** As many links as the kernel follows (path_resolution(7)). */
const mostLinks = 40;

/**
 * Who, besides root and the running user, could lead the absolute path `path` elsewhere: by a link of theirs on the
 * way, or a directory in which they may rename what is not theirs. If the way ends before, nothing is wrong.
 */
export function findWayFault(path: string): Fault | null {
  const todo = path.split('/');
  let at = '/';
  for (let links = 0; links < mostLinks; ) {
    const name = todo.shift();
    if (name === undefined) return null;
    const next = join(at, name);
    let stats: Stats;
    try {
      stats = lstatSync(next);
    } catch {
      return null;
    }
    const isLink = stats.isSymbolicLink();
    // No user may rename another's file in a sticky directory, and the mode of a link says nothing (inode(7)).
    const ownerDecides = isLink || (stats.mode & sticky) !== 0;
    if (overflowUser === undefined) overflowUser = findOverflowUser();
    // No root of this namespace could do anything about it, whichever user it is.
    const isOfOutside =
      stats.uid === overflowUser && stats.isDirectory() && (ownerDecides || (stats.mode & 0o022) === 0);
    const fault = isOfOutside
      ? null
      : (ownerDecides ? ownerFault : openToOthers)(next, stats, `${next} on the way to it`);
    if (fault !== null) return fault;
    if (isLink) {
      links++;
      const target = readlinkSync(next);
      if (target.startsWith('/')) at = '/';
      todo.unshift(...target.split('/'));
    } else {
      at = next;
    }
  }
  return null;
}

/**
 * Why a directory is not one to write to and to believe: it, or a step of the way to it, is in the hands of others. One
 * that is not there yet has its way only.
 */
export function findStoreFault(path: string): Fault | null {
  const wayFault = findWayFault(dirname(path)) ?? (isLink(path) ? findWayFault(path) : null);
  if (wayFault !== null) return wayFault;
  let stats: Stats;
  try {
    stats = statSync(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === 'ENOENT' || code === 'ENOTDIR'
      ? null
      : { what: `it cannot be examined (${code})`, fix: `ls -ld ${shellQuote(path)}` };
  }
  if (!stats.isDirectory()) return { what: 'it is not a directory', fix: `ls -ld ${shellQuote(path)}` };
  return openToOthers(path, stats, 'it');
}

function isLink(path: string): boolean {
  try {
    return lstatSync(path).isSymbolicLink();
  } catch {
    return false;
  }
}
