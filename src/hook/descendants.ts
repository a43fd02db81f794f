import treeKill from 'tree-kill';
import { allProcessesIn, ownControlGroups } from '../system/control-group.js';
import { runIdVariable } from '../system/own-environment.js';
import {
  type Process,
  anyValueOf,
  environmentOf,
  exists,
  hasInEnvironment,
  inTicks,
  listProcesses,
  readProcess,
  variable,
} from '../system/processes.js';
import { findInPath } from '../system/search-path.js';
import { sendQuietly } from '../system/send-signal.js';
import { pause } from '../system/timer.js';
import { pidVariable, runDirVariable, runIdPrefix } from './environment.js';
import type { HookGroup, LeftGroups } from './hook-groups.js';

/*
 * What a hook leaves running is ended when the hook has. If the hook has a control group of its own, that is what is in
 * there, for certain. Else it is looked for: by group, session, parents and environment.
 */

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

/** A look at what is left of a hook. */
interface Look {
  readonly pids: readonly number[];
  /** Nothing is left, as far as can be known at all; `perhaps`: another look may show more. */
  readonly isEmpty: boolean | 'perhaps';
}

/** How what is left of a hook is found. */
interface Leftovers {
  /** Rejected if /proc cannot be listed, for want of a descriptor; `null` if what it shows cannot be all. */
  look(): Look | Promise<Look | null>;
  /** What to signal then: no look can tell what is left, or that nothing is. */
  readonly blind: () => readonly number[];
  /** Kills all of it at once, if the kernel can do that. */
  readonly kill?: () => void;
}

function inGroup(group: HookGroup, hookPid: number, running: () => boolean): Leftovers {
  return {
    look: () => {
      const { pids, isEmpty } = group.look();
      // It may have moved itself elsewhere (`systemd-run --scope`), and is a hook still.
      return { pids: running() && !pids.includes(hookPid) ? [...pids, hookPid] : pids, isEmpty };
    },
    // Its group, whose number is its own while any of it is left (kill(2)).
    blind: () => (running() ? [hookPid, -hookPid] : [-hookPid]),
    kill: () => group.kill(),
  };
}

/** Where to look: in our control group and below it, which is a few in a unit or a container; else among all. */
function candidates(): number[] {
  const [own] = ownControlGroups();
  const inOwn = own === undefined ? [] : allProcessesIn(own);
  // This process at least is in there: nothing means that it cannot be read.
  return inOwn.length > 0 ? inOwn : listProcesses();
}

/** A kernel thread has no environment, ever (kthreadd is 2). */
function isKernelThread({ pid, parent }: Process): boolean {
  return pid === 2 || parent === 2;
}

/**
 * The living processes of one hook's run: its group and session, whatever carries its runId, and all their descendants.
 * @param startedAt on the clock of `performance.now()`: what is older than the hook is none of it
 */
async function lookFor(hookPid: number, runId: string, startedAt: number): Promise<Look> {
  const since = inTicks(startedAt);
  const mark = variable(runIdVariable, runId);
  const found = new Set<number>();
  const others: Process[] = [];
  const seen = new Set<number>([0, 1, process.pid]);
  let isSure = true;
  // One that forked and ended between the listing and its turn has left a child that only the next listing shows.
  for (let listing = 0; listing < mostListings; listing++) {
    const pids = candidates().filter((pid) => !seen.has(pid));
    if (pids.length === 0) break;
    for (const pid of pids) {
      seen.add(pid);
      if (seen.size % batch === 0) await new Promise((resolve) => setImmediate(resolve));
      const each = readProcess(pid);
      if (each === null || each.startTime < since) continue;
      const environment = environmentOf(pid);
      if (pid === hookPid || each.group === hookPid || each.session === hookPid || environment.has(mark))
        found.add(pid);
      else {
        others.push(each);
        // In the middle of its execve(2) a process shows no environment, be it this hook's or not.
        if (environment.isEmpty && !isKernelThread(each)) isSure = false;
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
  return { pids: [...found], isEmpty: found.size > 0 ? false : isSure || 'perhaps' };
}

/** tree-kill asks ps(1), and ends the program if there is none. */
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
 * True for an error that tree-kill does not report: ps(1) could not be started, for want of descriptors or processes.
 * What it would have found is found in /proc.
 */
export function isOfTreeWalk(error: unknown): boolean {
  return (error as NodeJS.ErrnoException | null)?.syscall === 'spawn ps';
}

/**
 * SIGTERM to all that is left, SIGKILL two seconds later to what is still there.
 * @param begin called before each of the two
 * @param running whether the hook itself still runs, asked anew each time
 */
async function endAll(left: Leftovers, begin: (signal: NodeJS.Signals) => void, running: () => boolean): Promise<void> {
  const sweep = async (signal: NodeJS.Signals, withinMs: number): Promise<boolean> => {
    const until = performance.now() + withinMs;
    const isLast = signal === 'SIGKILL';
    let signalled = new Set<number>();
    let wasEmpty = false;
    begin(signal);
    for (let pollMs = shortestPollMs; ; pollMs = Math.min(2 * pollMs, longestPollMs)) {
      let look: Look | null = null;
      try {
        look = await left.look();
      } catch {
        if (!running() && !left.blind().some(exists)) return true;
      }
      const isEmpty = look !== null && look.isEmpty !== false && !running();
      // Looked at twice, if the first look cannot tell.
      if (isEmpty && (look?.isEmpty === true || wasEmpty)) return true;
      wasEmpty = isEmpty;
      const pids = look?.pids ?? left.blind();
      if (isLast) left.kill?.();
      // Each once, because a SIGTERM handler that is at work is not to be interrupted; SIGKILL again, for who forks.
      for (const pid of pids) if (isLast || !signalled.has(pid)) sendQuietly(pid, signal);
      signalled = new Set(pids);
      if (performance.now() >= until) return false;
      await pause(pollMs);
    }
  };
  if (await sweep('SIGTERM', graceMs)) return;
  await sweep('SIGKILL', goneWithinMs);
}

/** A run of a hook, as what is left of it is to be found. */
export interface HookRun {
  readonly pid: number;
  readonly runId: string;
  /** When it was started, on the clock of `performance.now()`. */
  readonly startedAt: number;
  /** `null`: it has no control group of its own. */
  readonly group: HookGroup | null;
  /** Whether the hook itself still runs, asked anew each time: its pid is its own as long as it does. */
  readonly running: () => boolean;
}

/**
 * Ends a hook's run: SIGTERM to all that is left of it, SIGKILL two seconds later to what is still there.
 * @returns when nothing of it is left, or SIGKILL has had no effect
 */
export function endDescendants({ pid, runId, startedAt, group, running }: HookRun): Promise<void> {
  const left: Leftovers =
    group !== null
      ? inGroup(group, pid, running)
      : {
          look: async () => {
            const look = await lookFor(pid, runId, startedAt);
            return running() && !look.pids.includes(pid) ? null : look;
          },
          blind: () => (running() ? [pid, -pid] : [-pid]),
        };
  // At the end of a grace period only: ps(1) reads all of /proc, and a hundred hooks may have to end at once.
  const begin = (signal: NodeJS.Signals): void => {
    if (signal === 'SIGKILL' && running()) signalTree(pid, signal);
  };
  return endAll(left, begin, running);
}

const anyOwnRunId = anyValueOf(runIdVariable, runIdPrefix);

/**
 * Ends what the hooks of a qemu-trap that was killed have left, in the same way.
 * @param trap its pid
 * @param runDir the run directory it served: a pid is soon another's
 * @param groups the control groups of its hooks
 */
export async function endLeftBy(trap: number, runDir: string, groups: LeftGroups): Promise<void> {
  const marks = [variable(pidVariable, String(trap)), variable(runDirVariable, runDir)];
  const look = (): Look => {
    const pids = listProcesses().filter((pid) => pid > 1 && pid !== process.pid && readProcess(pid) !== null);
    const marked = pids.filter((pid) => hasInEnvironment(pid, ...marks) && !hasInEnvironment(pid, anyOwnRunId));
    const inGroups = groups.look();
    const isEmpty = inGroups.isEmpty && marked.length === 0 ? 'perhaps' : false;
    return { pids: [...new Set([...inGroups.pids, ...marked])], isEmpty };
  };
  await endAll(
    { look, blind: () => [], kill: () => groups.kill() },
    () => undefined,
    () => false,
  );
}
