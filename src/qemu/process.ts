import type { ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { Socket } from 'node:net';
import { hasMoreRights, identify, isIdentityAlive, isStopped, readProcess } from '../proc.js';
import { keepReadable } from '../system/node-internals.js';
import { spawnQemu } from '../system/spawn.js';
import { dialMonitor } from './dial.js';
import type { LaunchPlan } from './launch.js';
import { findByConfig, findOwner, findStarted, readsConfig, startedVariable } from './socket-owner.js';

export interface QemuExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Of a process that is nobody's child here: wait(2) is for its parent. */
export const unknownExit: QemuExit = { code: null, signal: null };

/** The running QEMU. */
export interface Qemu {
  /** As far as it is known: the process that was started, until it is seen which one serves the monitors. */
  readonly pid: number;
  /** The connection to the control monitor; `null` until it has been reached. */
  readonly control: Socket | null;
  /** Fulfilled with that connection; pending for ever if it is never reached. */
  readonly reached: Promise<Socket>;
  /** Settled when QEMU has gone, and a wrapper in front of it; never rejected. */
  readonly gone: Promise<QemuExit>;
  /**
   * Sees which process serves the monitors, once one has answered: with a wrapper in front of QEMU it is not the one
   * that was started.
   * @returns false if that cannot be told
   */
  locate(): boolean;
  /** Whether the kernel ends it when qemu-trap dies, if it was asked to do so for the process that was started (prctl(2)). */
  readonly isTied: boolean;
  /** What was killed before it had a monitor was not executed with our words: a wrapper has dropped them, and a guest may have run. */
  readonly bypassesUs: boolean;
  /**
   * SIGCONT, where SIGSTOP holds it: it would neither press its button nor quit.
   * @returns whether it was held
   */
  wake(): boolean;
  /** SIGKILL. */
  kill(): void;
  /** Has libuv look again which children have ended, where a flood of signals may have drowned SIGCHLD. */
  reap(): void;
}

const lookEveryMs = 100;
const dialEveryMs = 50;
const dialWithinMs = 1_000;
/** How long a wrapper has to end by itself when its QEMU was killed. */
const wrapperGraceMs = 1_000;

/** How QEMU is found among its wrappers. */
export interface Traits {
  /** Where it listens for whoever takes it over. */
  readonly controlSocket: string;
  /** What it was told to read, and nobody else. */
  readonly monitorsFile: string;
  readonly runDir: string;
}

function killQuietly(pid: number): void {
  sendQuietly(pid, 'SIGKILL');
}

/** The process must be known to be the one that is meant. */
export function wakeStopped(pid: number): boolean {
  return isStopped(pid) && sendQuietly(pid, 'SIGCONT');
}

function sendQuietly(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    // It has gone just now, or is another user's: then the wait for it ends as it does for one that is stuck.
    return false;
  }
}

class StartedQemu implements Qemu {
  control: Socket | null;
  bypassesUs = false;
  readonly reached: Promise<Socket>;
  readonly gone: Promise<QemuExit>;

  /** How the process that was started ended. */
  #exit: QemuExit | null = null;
  /** QEMU itself, by pid and start time, if it is another process. */
  #other: string | null = null;
  #otherPid: number | null = null;
  #isLocated = false;
  /** Behind a wrapper, whose exit status says nothing of it. */
  #wasKilledBehind = false;
  #hasGone = false;
  #settle!: (exit: QemuExit) => void;

  constructor(
    private readonly child: ChildProcess,
    private readonly childPid: number,
    control: Socket | null,
    private readonly traits: Traits,
  ) {
    this.control = control;
    this.gone = new Promise((resolve) => (this.#settle = resolve));
    if (control !== null) {
      keepReadable(control);
      this.reached = Promise.resolve(control);
    } else {
      this.reached = new Promise((resolve) => void this.#dial(resolve));
    }
    child.on('exit', (code, signal) => {
      this.#exit = { code, signal };
      if (this.#remains()) this.#exit = unknownExit;
      this.#look();
    });
  }

  get pid(): number {
    return this.#otherPid ?? this.childPid;
  }

  get isTied(): boolean {
    return this.#otherPid === null && !hasMoreRights(this.childPid);
  }

  locate(): boolean {
    const { controlSocket, monitorsFile } = this.traits;
    const { pid, isSure } = findOwner(controlSocket, this.childPid, monitorsFile);
    this.#isLocated = isSure;
    if (pid !== this.childPid) {
      this.#otherPid = pid;
      this.#other = identify(pid) ?? '';
    }
    return isSure;
  }

  wake(): boolean {
    if (this.#other !== null) return isIdentityAlive(this.#other) && wakeStopped(this.pid);
    return this.#exit === null && wakeStopped(this.childPid);
  }

  kill(): void {
    if (this.#otherPid !== null) {
      if (this.#remains()) {
        this.#wasKilledBehind = true;
        killQuietly(this.#otherPid);
      }
      setTimeout(() => this.#killChild(), wrapperGraceMs).unref();
      return;
    }
    // Before its monitors are there nobody knows which of them is QEMU.
    if (!this.#isLocated) this.#killAll();
    this.#killChild();
  }

  reap(): void {
    if (this.#exit === null) process.kill(process.pid, 'SIGCHLD');
  }

  #killAll(): void {
    const { runDir, monitorsFile } = this.traits;
    const started = findStarted(runDir, monitorsFile);
    const parents = started.map((pid) => readProcess(pid)?.parent);
    this.bypassesUs = started.some((pid) => !parents.includes(pid) && !readsConfig(pid, monitorsFile));
    this.#wasKilledBehind = started.some((pid) => pid !== this.childPid);
    started.forEach(killQuietly);
  }

  #killChild(): void {
    if (this.#exit === null) this.child.kill('SIGKILL');
  }

  /** Whether QEMU is still there, or on its way, though the process that was started has gone. */
  #remains(): boolean {
    if (this.#other !== null) return isIdentityAlive(this.#other);
    return !this.#isLocated && findByConfig(this.traits.monitorsFile).length > 0;
  }

  #look(): void {
    if (this.#exit === null || this.#hasGone) return;
    if (this.#remains()) return void setTimeout(() => this.#look(), lookEveryMs);
    this.#hasGone = true;
    this.#settle(this.#wasKilledBehind ? { code: null, signal: 'SIGKILL' } : this.#exit);
  }

  async #dial(reached: (control: Socket) => void): Promise<void> {
    while (!this.#hasGone) {
      const control = existsSync(this.traits.controlSocket) ? await dialMonitor(this.traits.controlSocket, dialWithinMs).catch(() => null) : null;
      if (control !== null) {
        keepReadable(control);
        this.control = control;
        return reached(control);
      }
      await new Promise((resolve) => setTimeout(resolve, dialEveryMs));
    }
  }
}

/**
 * Starts QEMU.
 * @throws NodeJS.ErrnoException where it cannot be started
 */
export function startQemu(plan: LaunchPlan, env: NodeJS.ProcessEnv, traits: Traits): Promise<Qemu> {
  return new Promise((resolve, reject) => {
    const child = spawnQemu(plan.command, plan.args, { stdio: plan.stdio, env: { ...env, [startedVariable]: traits.runDir }, detached: plan.detached }, plan.hidden);
    child.on('error', reject);
    const { pid } = child;
    if (pid === undefined) return;
    const control = plan.controlFd === null ? null : ((child.stdio as unknown as readonly Socket[])[plan.controlFd] as Socket);
    resolve(new StartedQemu(child, pid, control, traits));
  });
}
