import { sendQuietly } from '../system/send-signal.js';
import { runIdVariable } from '../system/own-environment.js';
import {
  type Process,
  anyValueOf,
  exists,
  hasInEnvironment,
  inTicks,
  listProcesses,
  listProcessesSince,
  readProcess,
  variable,
} from '../system/processes.js';
import { findInPath } from '../system/search-path.js';
import { runIdPrefix, pidVariable, runDirVariable } from './environment.js';
import { isLastHook, isMarkedOnly } from './process-mark.js';

import treeKill from 'tree-kill';
import { pause } from '../system/timer.js';

/** From SIGTERM to SIGKILL of what a hook has left. */
export const graceMs = 2_000;

const shortestPollMs = 5;
const longestPollMs = 50;
/** Processes read between two turns of the event loop: signals must be taken from libuv's pipe meanwhile. */
const batch = 64;
/** On a host that forks all the time, a listing without anything new may never come. */
const mostListings = 32;
/** How long killed processes are waited for: longer than this, the kernel holds them. */
const goneWithinMs = 5_000;

const anyOwnRunId = anyValueOf(runIdVariable, runIdPrefix);

interface Found {
  /** Its group and session, whoever carries its runId, and all their descendants. */
  readonly sure: ReadonlySet<number>;
  /** What has nothing left of it but the mark, as far as one look can tell. */
  readonly marked: ReadonlySet<number>;
}

/**
 * The living processes of one hook's run.
 * @param startedAt on the clock of `performance.now()`: what is older than the hook is none of it, and on a host where
 *   a hundred hooks end at once, a look at every process would cost seconds
 */
async function processesOf(hookPid: number, runId: string, startedAt: number): Promise<Found> {
  const since = inTicks(startedAt);
  const mark = variable(runIdVariable, runId);
  const found = new Set<number>();
  const marked = new Set<number>();
  const others: Process[] = [];
  const seen = new Set<number>([0, 1, process.pid]);
  // One that forked and ended between the listing and its turn has left a child that only the next listing shows.
  for (let listing = 0; listing < mostListings; listing++) {
    const pids = listProcessesSince(hookPid, performance.now() - startedAt).filter((pid) => !seen.has(pid));
    if (pids.length === 0) break;
    for (const pid of pids) {
      seen.add(pid);
      if (seen.size % batch === 0) await new Promise((resolve) => setImmediate(resolve));
      const each = readProcess(pid);
      if (each === null || each.startTime < since) continue;
      if (pid === hookPid || each.group === hookPid || each.session === hookPid || hasInEnvironment(pid, mark))
        found.add(pid);
      else {
        // Asked for each: a hook that has been started meanwhile has processes of its own.
        if (isLastHook(hookPid) && isMarkedOnly(pid)) marked.add(pid);
        others.push(each);
      }
    }
  }
  for (let grew = true; grew; ) {
    grew = false;
    for (const each of others) {
      if (!found.has(each.pid) && found.has(each.parent)) {
        found.add(each.pid);
        grew = true;
      }
    }
  }
  return { sure: found, marked };
}

/** tree-kill asks ps(1), and ends the program where there is none. */
function hasPs(): boolean {
  return findInPath(process.env['PATH'] ?? '', 'ps') !== null;
}

/** Walks the tree below a hook that still runs, and signals all of it; {@link isOfTreeWalk} tells what comes of a failure. */
function signalTree(hookPid: number, signal: NodeJS.Signals): void {
  try {
    if (hasPs()) treeKill(hookPid, signal, () => undefined);
  } catch {
    // Without a descriptor to spare ps(1) is not even tried.
  }
}

/**
 * True for an error that tree-kill leaves to nobody: ps(1) could not be started, for want of descriptors or processes.
 * What it would have found is found in /proc.
 */
export function isOfTreeWalk(error: unknown): boolean {
  return (error as NodeJS.ErrnoException | null)?.syscall === 'spawn ps';
}

interface Sweep {
  /** One look at what is left; rejected where /proc cannot be listed, for want of a descriptor. */
  readonly look: () => Promise<Found>;
  /** What to signal then: no look can tell what is left, or that nothing is. */
  readonly blind: () => readonly number[];
  readonly stillOnlyMarked: () => boolean;
  readonly begin?: (signal: NodeJS.Signals) => void;
  readonly running?: () => boolean;
}

/** SIGTERM to all that is left, SIGKILL two seconds later to what is still there. */
async function endAll({ look, blind, stillOnlyMarked, begin, running }: Sweep): Promise<void> {
  const sweep = async (signal: NodeJS.Signals, withinMs: number): Promise<boolean> => {
    const until = performance.now() + withinMs;
    let signalled = new Set<number>();
    let wasEmpty = false;
    let wasMarked: ReadonlySet<number> = new Set();
    begin?.(signal);
    for (let pollMs = shortestPollMs; ; pollMs = Math.min(2 * pollMs, longestPollMs)) {
      const found = await look().catch(() => null);
      if (found === null && running?.() !== true && !blind().some(exists)) return true;
      const { sure, marked } = found ?? { sure: new Set(blind()), marked: new Set<number>() };
      const isEmpty = found !== null && sure.size === 0 && marked.size === 0 && running?.() !== true;
      // Looked at twice: in the middle of its execve(2) a process shows no environment, be it this hook's or not.
      if (isEmpty && wasEmpty) return true;
      wasEmpty = isEmpty;
      const left = [...new Set([...sure, ...[...marked].filter((pid) => wasMarked.has(pid) && stillOnlyMarked())])];
      wasMarked = marked;
      // Each once, for a SIGTERM handler that is at work is not to be interrupted; SIGKILL again, for who forks.
      for (const pid of left) if (signal === 'SIGKILL' || !signalled.has(pid)) sendQuietly(pid, signal);
      signalled = new Set(left);
      if (performance.now() >= until) return false;
      await pause(pollMs);
    }
  };
  if (await sweep('SIGTERM', graceMs)) return;
  await sweep('SIGKILL', goneWithinMs);
}

/**
 * Ends a hook's run: SIGTERM to all that is left of it, SIGKILL two seconds later to what is still there.
 * @param startedAt when it was started, on the clock of `performance.now()`
 * @param running whether the hook itself still runs, asked anew each time: its pid is nobody else's as long as it does
 * @returns when nothing of it is left, or SIGKILL has had no effect
 */
export function endDescendants(
  hookPid: number,
  runId: string,
  startedAt: number,
  running: () => boolean,
): Promise<void> {
  return endAll({
    look: () => processesOf(hookPid, runId, startedAt),
    // Its group, whose number is nobody else's while any of it is left (kill(2)).
    blind: () => (running() ? [hookPid, -hookPid] : [-hookPid]),
    stillOnlyMarked: () => isLastHook(hookPid),
    // At the end of a grace period only: ps(1) reads all of /proc, and a hundred hooks may have to end at once.
    begin: (signal) => {
      if (signal === 'SIGKILL' && running()) signalTree(hookPid, signal);
    },
    running,
  });
}

/**
 * Ends what the hooks of a qemu-trap that was killed have left, in the same way; what has wiped its environment is not
 * found.
 * @param trap its pid
 * @param runDir the run directory it served: a pid is soon another's
 */
export function endLeftBy(trap: number, runDir: string): Promise<void> {
  const marks = [variable(pidVariable, String(trap)), variable(runDirVariable, runDir)];
  const look = async (): Promise<Found> => {
    const pids = listProcesses().filter((pid) => pid > 1 && pid !== process.pid && readProcess(pid) !== null);
    return {
      sure: new Set(pids.filter((pid) => hasInEnvironment(pid, ...marks) && !hasInEnvironment(pid, anyOwnRunId))),
      marked: new Set(),
    };
  };
  return endAll({ look, blind: () => [], stillOnlyMarked: () => false });
}
