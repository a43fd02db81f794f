import { readFileSync, readdirSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { descriptorTarget, listProcesses, readProcess } from '../proc.js';

/** State of a socket in /proc/net/unix (proc(5)) that is one end of a connection; a listening one has another. */
const connected = '03';

/** The inodes of connections that were accepted on a socket of the same name as `path`, with the path it was bound to. */
function acceptedAt(path: string): Map<string, string> {
  const inodes = new Map<string, string>();
  for (const line of readFileSync('/proc/self/net/unix', 'utf8').split('\n')) {
    const [, state, inode, bound] = /^\S+: \S+ \S+ \S+ \S+ (\S+)\s+(\d+) (.+)$/.exec(line) ?? [];
    if (state === connected && bound !== undefined && basename(bound) === basename(path)) inodes.set(inode as string, bound);
  }
  return inodes;
}

/** Whether the path that a process bound its socket to, from its root or its directory, is that of `path`; `null`: who knows. */
function isSameSocket(pid: number, bound: string, path: string): boolean | null {
  try {
    const theirs = statSync(join(`/proc/${pid}`, bound.startsWith('/') ? 'root' : 'cwd', bound));
    const ours = statSync(path);
    return theirs.dev === ours.dev && theirs.ino === ours.ino;
  } catch {
    return null;
  }
}

/**
 * The process that has accepted a connection on the unix socket at `path`: Node cannot ask the socket (SO_PEERCRED of
 * unix(7)). Call it while a connection is open that has been answered.
 * @returns `null` where none can be found: it belongs to another user, or lives in another network or pid namespace
 */
export function findServer(path: string): number | null {
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
      // It has gone, or belongs to another user.
    }
  }
  const verdicts = [...holders].map(([pid, bound]) => ({ pid, isSame: isSameSocket(pid, bound, path) }));
  const sure = verdicts.filter(({ isSame }) => isSame === true);
  // A QEMU that has changed its root or its directory (-daemonize does) cannot be followed there.
  const pids = (sure.length > 0 ? sure : verdicts.filter(({ isSame }) => isSame === null)).map(({ pid }) => pid);
  // A child that it has forked may hold the same connection.
  const eldest = pids.filter((pid) => !pids.includes(readProcess(pid)?.parent ?? 0));
  return eldest.length === 1 ? (eldest[0] as number) : null;
}
