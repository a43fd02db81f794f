import type { ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { Socket } from 'node:net';
import { dialMonitor } from '../qmp/dial.js';
import { keepReadable } from '../system/node-internals.js';
import { identify, isIdentityAlive } from '../system/process-identity.js';
import { hasMoreRights, readProcess } from '../system/processes.js';
import { killQuietly, wakeStopped } from '../system/send-signal.js';
import { pause, startRepeating, startTimer, type Timer, within } from '../system/timer.js';
import { spawnQemu } from '../system/spawn.js';
import type { LaunchPlan } from './launch-plan.js';
import { type Finish, type Qemu, type QemuExit, type Traits, unknownExit } from './qemu.js';
import { findByConfig, findOwner, findStarted, readsConfig, startedVariable } from './socket-owner.js';

/** How often a QEMU behind a wrapper is looked at: Node cannot wait for a process that is no child. */
const watchEveryMs = 1_000;
const firstLookMs = 20;
const longestLookMs = 500;
const dialEveryMs = 50;
const dialWithinMs = 1_000;
/** How long a killed process is looked at: longer than this, the kernel holds it. */
const goneWithinMs = 60_000;
/** How long what a wrapper has left may take to be gone when it was killed. */
const leftoversWithinMs = 2_000;

class StartedQemu implements Qemu {
  control: Socket | null;
  bypassesUs = false;
  wasKilled = false;
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
  #isLooking = false;
  /** At the last look no QEMU was to be seen behind a wrapper that has exited. */
  #wasEmpty = false;
  #watching: Timer | undefined;
  /** On the clock of `performance.now()`. */
  #lookUntil = 0;
  readonly #childExit: Promise<void>;
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
    this.#childExit = new Promise((resolve) => {
      child.on('exit', (code, signal) => {
        this.#exit = { code, signal };
        // QEMU's own is for another parent to know.
        if (this.#remains()) this.#exit = unknownExit;
        resolve();
        if (!this.#isLooking) this.#look();
      });
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
      // The wrapper holds the other end of the control monitor, and a crash says no word.
      this.#watching ??= startRepeating(watchEveryMs, () => this.look(0));
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
        this.#killBehind();
        killQuietly(this.#otherPid);
        this.look(goneWithinMs);
      }
    } else if (this.#isLocated) {
      this.wasKilled = this.#exit === null;
      this.#killChild();
    } else {
      // Before its monitors are there it is not known which of them is QEMU.
      this.#killAll();
      this.wasKilled = true;
      this.#killChild();
    }
  }

  async finish(withinMs: number): Promise<Finish> {
    await this.gone;
    if (this.#otherPid === null) return { exit: this.#lastExit, killedWrapper: null };
    await within(withinMs, this.#childExit);
    const killedWrapper = this.#exit === null ? this.childPid : null;
    this.#killChild();
    // One that starts QEMU again and again has perhaps done so once more.
    const until = performance.now() + leftoversWithinMs;
    const find = (): number[] => this.#findLeftovers(killedWrapper !== null);
    for (let left = find(); left.length > 0 && performance.now() < until; left = find()) {
      left.forEach(killQuietly);
      await pause(firstLookMs);
    }
    if (killedWrapper !== null) await within(leftoversWithinMs, this.#childExit);
    return { exit: killedWrapper === null || this.#wasKilledBehind ? this.#lastExit : unknownExit, killedWrapper };
  }

  /** How QEMU exited, as far as it is known: by our SIGKILL behind a wrapper, else as what was started did. */
  get #lastExit(): QemuExit {
    return this.#wasKilledBehind ? { code: null, signal: 'SIGKILL' } : (this.#exit ?? unknownExit);
  }

  /** @param isAll with what a wrapper that was killed had started besides */
  #findLeftovers(isAll: boolean): number[] {
    const { runDir, monitorsFile } = this.traits;
    return (isAll ? findStarted(runDir, monitorsFile) : findByConfig(monitorsFile)).filter(
      (pid) => pid !== this.childPid,
    );
  }

  #killBehind(): void {
    this.#wasKilledBehind = true;
    this.wasKilled = true;
  }

  reap(): void {
    if (this.#exit === null) process.kill(process.pid, 'SIGCHLD');
  }

  #killAll(): void {
    const { runDir, monitorsFile } = this.traits;
    const started = findStarted(runDir, monitorsFile);
    const parents = started.map((pid) => readProcess(pid)?.parent);
    this.bypassesUs = started.some((pid) => !parents.includes(pid) && !readsConfig(pid, monitorsFile));
    if (started.some((pid) => pid !== this.childPid)) this.#killBehind();
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

  look(forMs: number): void {
    this.#lookUntil = Math.max(this.#lookUntil, performance.now() + forMs);
    if (!this.#isLooking) this.#look();
  }

  /** Settles when QEMU has exited; behind a wrapper, looks again. */
  #look(ms = firstLookMs): void {
    this.#isLooking = false;
    if (this.#hasGone || (this.#other === null && this.#exit === null)) return;
    const isBehind = this.#other === null && !this.#isLocated;
    if (this.#remains()) {
      this.#wasEmpty = false;
      if (isBehind) this.#exit = unknownExit;
      if (this.#exit === null && performance.now() > this.#lookUntil) return;
      this.#isLooking = true;
      return void startTimer(ms, () => this.#look(Math.min(2 * ms, longestLookMs)));
    }
    // In the middle of its execve(2) a process shows no words: looked at twice.
    if (isBehind && !this.#wasEmpty) {
      this.#wasEmpty = true;
      this.#isLooking = true;
      return void startTimer(firstLookMs, () => this.#look());
    }
    this.#hasGone = true;
    this.#watching?.cancel();
    this.#settle(this.#lastExit);
  }

  async #dial(reached: (control: Socket) => void): Promise<void> {
    while (!this.#hasGone) {
      const control = existsSync(this.traits.controlSocket)
        ? await dialMonitor(this.traits.controlSocket, dialWithinMs).catch(() => null)
        : null;
      if (control !== null) {
        keepReadable(control);
        this.control = control;
        return reached(control);
      }
      await pause(dialEveryMs);
    }
  }
}

/**
 * Starts QEMU.
 * @throws NodeJS.ErrnoException if it cannot be started
 */
export function startQemu(plan: LaunchPlan, env: NodeJS.ProcessEnv, traits: Traits): Promise<Qemu> {
  return new Promise((resolve, reject) => {
    const child = spawnQemu(
      plan.command,
      plan.args,
      { stdio: plan.stdio, env: { ...env, [startedVariable]: traits.runDir }, detached: plan.detached },
      plan.hidden,
    );
    child.on('error', reject);
    const { pid } = child;
    if (pid === undefined) return;
    const control =
      plan.controlFd === null ? null : ((child.stdio as unknown as readonly Socket[])[plan.controlFd] as Socket);
    resolve(new StartedQemu(child, pid, control, traits));
  });
}
