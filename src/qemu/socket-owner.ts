import { readFileSync, readdirSync, statSync, type Stats } from 'node:fs';
import { basename, join } from 'node:path';
import {
  commandLine,
  descriptorTarget,
  hasInEnvironment,
  isDescendant,
  listProcesses,
  readProcess,
  userOf,
  variable,
} from '../system/processes.js';

/** State of a socket in /proc/net/unix (proc(5)) that is one end of a connection; a listening one has another. */
const connected = '03';

/** __SO_ACCEPTCON in the flags of a socket there: it listens. */
const listening = 0x10000;

/** The inodes of connections that were accepted on a socket of the same name as `path`, with the path it was bound to. */
function acceptedAt(path: string): Map<string, string> {
  const inodes = new Map<string, string>();
  for (const line of readFileSync('/proc/self/net/unix', 'utf8').split('\n')) {
    const [, state, inode, bound] = /^\S+: \S+ \S+ \S+ \S+ (\S+)\s+(\d+) (.+)$/.exec(line) ?? [];
    if (state === connected && bound !== undefined && basename(bound) === basename(path))
      inodes.set(inode as string, bound);
  }
  return inodes;
}

/** The file of a socket, whatever its path leads to later. */
export type SocketFile = Pick<Stats, 'dev' | 'ino' | 'uid'>;

/** Whether the path that a process bound its socket to, from its root or its directory, is that file; `null`: who knows. */
function isSameSocket(pid: number, bound: string, ours: SocketFile): boolean | null {
  try {
    const theirs = statSync(join(`/proc/${pid}`, bound.startsWith('/') ? 'root' : 'cwd', bound));
    return theirs.dev === ours.dev && theirs.ino === ours.ino;
  } catch {
    return null;
  }
}

/**
 * Whether a process may be who made a socket's file. The names in /proc/net/unix are of anybody's choosing, and with
 * them whose they seem to be; the owner of a file is the kernel's word. One that root or we have made may be of a QEMU
 * that has changed its user since.
 */
function mayHaveMade({ uid }: SocketFile, pid: number): boolean {
  return uid === 0 || uid === process.geteuid?.() || userOf(pid) === uid;
}

/**
 * The process that has accepted a connection on the unix socket at `path`: Node cannot ask the socket (SO_PEERCRED of
 * unix(7)). Call it while a connection is open that has been answered.
 * @param file what `path` led to when it was connected to
 * @returns `null` if none can be found: it belongs to another user, or lives in another network or pid namespace
 */
export function findServer(path: string, file: SocketFile): number | null {
  const inodes = acceptedAt(path);
  const holders = new Map<number, string>();
  for (const pid of listProcesses()) {
    if (pid === process.pid) continue;
    try {
      for (const fd of readdirSync(`/proc/${pid}/fd`)) {
        const inode = /^socket:\[(\d+)\]$/.exec(descriptorTarget(pid, fd))?.[1];
        const bound = inode === undefined ? undefined : inodes.get(inode);
        if (bound !== undefined) holders.set(pid, bound);
      }
    } catch {
      // It has exited, or belongs to another user.
    }
  }
  const verdicts = [...holders]
    .filter(([pid]) => mayHaveMade(file, pid))
    .map(([pid, bound]) => ({ pid, isSame: isSameSocket(pid, bound, file) }));
  const sure = verdicts.filter(({ isSame }) => isSame === true);
  // A QEMU that has changed its root or its directory (-daemonize does) cannot be followed there.
  const pids = (sure.length > 0 ? sure : verdicts.filter(({ isSame }) => isSame === null)).map(({ pid }) => pid);
  // A child that it has forked may hold the same connection.
  const eldest = pids.filter((pid) => !pids.includes(readProcess(pid)?.parent ?? 0));
  return eldest.length === 1 ? (eldest[0] as number) : null;
}

/** The inodes of the sockets that listen at exactly `path`, in the network namespace of process `pid`. */
function listeningAt(path: string, pid: number): Set<string> {
  const inodes = new Set<string>();
  for (const line of readFileSync(`/proc/${pid}/net/unix`, 'utf8').split('\n')) {
    const [, flags = '', inode = '', bound] = /^\S+: \S+ \S+ (\S+) \S+ \S+\s+(\d+) (.+)$/.exec(line) ?? [];
    if (bound === path && (Number.parseInt(flags, 16) & listening) !== 0) inodes.add(inode);
  }
  return inodes;
}

/** Whether a process has a socket open that listens at `path`, and that is the one we see there; `null`: it is not for us to know. */
function listensAt(path: string, pid: number): boolean | null {
  try {
    const inodes = listeningAt(path, pid);
    const holds = readdirSync(`/proc/${pid}/fd`).some((fd) =>
      inodes.has(/^socket:\[(\d+)\]$/.exec(descriptorTarget(pid, fd))?.[1] ?? ''),
    );
    return holds && isSameSocket(pid, path, statSync(path)) !== false;
  } catch {
    return null;
  }
}

/** Whether a process was executed to read our file of monitors: QEMU, and wrappers in front of it that pass on their words. */
export function readsConfig(pid: number, monitorsFile: string): boolean {
  return commandLine(pid).some((word, i, words) => word === '-readconfig' && words[i + 1] === monitorsFile);
}

/** Anybody may call a process of theirs what they like: one counts if it is of our user, of root, or comes from us. */
function mayBeOurs(pid: number): boolean {
  const user = userOf(pid);
  return user === process.geteuid?.() || user === 0 || isDescendant(pid);
}

/** The living processes that may be ours, and of which {@link readsConfig} is true; none if /proc cannot be read. */
export function findByConfig(monitorsFile: string): number[] {
  try {
    return listProcesses().filter(
      (pid) => pid !== process.pid && readsConfig(pid, monitorsFile) && readProcess(pid) !== null && mayBeOurs(pid),
    );
  } catch {
    return [];
  }
}

/** The variable of QEMU's environment that says with which run directory it was started. */
export const startedVariable = 'QEMU_TRAP_STARTED';

/** All that was started as QEMU with this run directory and lives: QEMU, wrappers, and what a wrapper has made of its words. */
export function findStarted(runDir: string, monitorsFile: string): number[] {
  const mark = variable(startedVariable, runDir);
  const others = ((): number[] => {
    try {
      return listProcesses().filter(
        (pid) =>
          pid > 1 && pid !== process.pid && hasInEnvironment(pid, mark) && readProcess(pid) !== null && mayBeOurs(pid),
      );
    } catch {
      return [];
    }
  })();
  return [...new Set([...findByConfig(monitorsFile), ...others])];
}

interface Owner {
  readonly pid: number;
  /** False if it may be another process as well. */
  readonly isSure: boolean;
}

/**
 * The process that serves the socket at `path`.
 * @param child the process that was started, which may be a wrapper in front of it
 * @param monitorsFile the file that it was told to read
 */
export function findOwner(path: string, child: number, monitorsFile: string): Owner {
  if (listensAt(path, child) === true) return { pid: child, isSure: true };
  const candidates = findByConfig(monitorsFile).map((pid) => ({ pid, listens: listensAt(path, pid) }));
  const sure = candidates.filter(({ listens }) => listens === true).map(({ pid }) => pid);
  // A child that it has forked holds the same socket.
  const eldest = sure.filter((pid) => !sure.includes(readProcess(pid)?.parent ?? 0));
  if (eldest.length === 1) return { pid: eldest[0] as number, isSure: true };
  // Whose descriptors are not for us to see, because it changed its user, say, or has capabilities of its file.
  const possible = candidates.filter(({ listens }) => listens === null);
  if (sure.length === 0 && possible.length === 1) return { pid: (possible[0] as { pid: number }).pid, isSure: true };
  return { pid: child, isSure: false };
}
