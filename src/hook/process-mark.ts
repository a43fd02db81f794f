import { runIdVariable } from '../system/own-environment.js';
import { anyValueOf, hasInEnvironment, hasLimit } from '../system/processes.js';
import { spawn } from '../system/spawn.js';

/**
 * The soft RLIMIT_LOCKS that qemu-trap has, and every process it starts from now on inherits, whatever becomes of its
 * environment. The kernel has not enforced that limit since 2.4.25 (getrlimit(2)): as a mark it costs nothing.
 */
const markedLimit = 2 ** 40 + Math.floor(Math.random() * 2 ** 40);

/** Marks qemu-trap itself, so that its hooks are. Where prlimit(1) is not there, the runId has to do. */
export function markHooksToCome(): void {
  const child = spawn('prlimit', ['--pid', String(process.pid), `--locks=${markedLimit}:`], {
    stdio: ['ignore', 'ignore', 'ignore'],
  });
  child.on('error', () => undefined);
}

const markedLimitBytes = Buffer.from(` ${markedLimit} `);

const anyCookie = anyValueOf(runIdVariable);

/** True for a process that comes from a hook of this qemu-trap, and has wiped its environment, or is in its execve(2). */
export function isMarkedOnly(pid: number): boolean {
  return hasLimit(pid, markedLimitBytes) && hasInEnvironment(pid, anyCookie) === false;
}

/** The hooks that run now. What is only marked is nobody's in particular: it goes with the last of them. */
const runningHooks = new Set<number>();

export function hookStarted(pid: number): void {
  runningHooks.add(pid);
}

export function hookEnded(pid: number): void {
  runningHooks.delete(pid);
}

export function isLastHook(hookPid: number): boolean {
  return [...runningHooks].every((pid) => pid === hookPid);
}
