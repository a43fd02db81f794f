import type { Socket } from 'node:net';
import { keepReadable } from '../system/node-internals.js';
import { spawnQemu } from '../system/spawn.js';
import type { LaunchPlan } from './launch.js';

export interface QemuExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** The running QEMU. */
export interface Qemu {
  readonly pid: number;
  /** The connection to the control monitor: it has no name that anybody else could dial. */
  readonly control: Socket;
  /** Settled when QEMU has been reaped; never rejected. */
  readonly gone: Promise<QemuExit>;
  /** SIGKILL. */
  kill(): void;
  /** Has libuv look again which children have ended, where a flood of signals may have drowned SIGCHLD. */
  reap(): void;
}

/**
 * Starts QEMU.
 * @throws NodeJS.ErrnoException where it cannot be started
 */
export function startQemu(plan: LaunchPlan, env: NodeJS.ProcessEnv): Promise<Qemu> {
  return new Promise((resolve, reject) => {
    const child = spawnQemu(plan.command, plan.args, { stdio: plan.stdio, env, detached: plan.detached }, plan.hidden);
    child.on('error', reject);
    const { pid } = child;
    if (pid === undefined) return;
    const gone = new Promise<QemuExit>((settle) => child.on('exit', (code, signal) => settle({ code, signal })));
    let ended = false;
    void gone.then(() => {
      ended = true;
    });
    const control = (child.stdio as unknown as readonly Socket[])[plan.controlFd] as Socket;
    keepReadable(control);
    resolve({
      pid,
      control,
      gone,
      kill: () => {
        if (!ended) child.kill('SIGKILL');
      },
      reap: () => {
        if (!ended) process.kill(process.pid, 'SIGCHLD');
      },
    });
  });
}
