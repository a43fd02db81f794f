import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Lab, read, until, type Trap } from '../support/lab.js';
import type { Fault, Plan, Powers } from './plan.js';

/*
 * The VM of one bad day: a real QEMU, its guest, and what qemu-trap is started with.
 */

/** Longer than what its reserve must leave a guest that takes two seconds to go. */
export const timeoutMs = (plan: Plan): number => (plan.temper === 'lingering' ? 14_000 : 6_000);
export const killAfterMs = 1_500;

export function findPowers(): Powers {
  const root = process.geteuid?.() === 0;
  const clock = existsSync('.cache/clock.so') ? resolve('.cache/clock.so') : null;
  let mount = false;
  if (root) {
    const at = mkdtempSync(join(tmpdir(), 'qemu-trap-mount-'));
    mount = spawnSync('mount', ['-t', 'tmpfs', 'none', at]).status === 0;
    if (mount) execFileSync('umount', [at]);
    rmSync(at, { recursive: true });
  }
  return { root, mount, clock };
}

const hooks: Readonly<Record<Exclude<Plan['hook'], 'bundled' | 'in-process'>, string>> = {
  presses: '#!/bin/sh\nwhile qmp system_powerdown; do sleep 0.5; done\n',
  forgets: '#!/bin/sh\nprintf \'{"execute":"qmp_capabilities"}\\n{"execute":"system_powerdown"}\\n\' >&3\n',
  slow: '#!/bin/sh\nsleep 1\nqmp system_powerdown\nexec qmp --wait SHUTDOWN\n',
  fails: '#!/bin/sh\nexit 3\n',
  hangs: '#!/bin/sh\nsleep 600\n',
  'hangs-deaf': '#!/bin/sh\ntrap "" TERM INT HUP\nsleep 600 & sleep 600\n',
  'leaves-children': '#!/bin/sh\nsetsid sleep 600 &\n(sleep 600 &)\nqmp system_powerdown\n',
};

type Stdio = 'ignore' | 'pipe' | number;

/** The guest, qemu-trap and whatever else belongs to one day. */
export class Day {
  readonly lab: Lab;
  readonly runDir: string;
  readonly injected: Fault['kind'][] = [];
  /** What is to be undone at the end of the day, the last first. */
  readonly undo: (() => void)[] = [];
  readonly #uid: number;
  readonly #program: string;
  readonly #command: readonly string[];
  #fds: number[] = [];

  constructor(
    readonly plan: Plan,
    private readonly powers: Powers,
    lane: number,
    underTest: string,
  ) {
    this.lab = new Lab({ after: () => undefined });
    const base = this.lab.file('small');
    mkdirSync(base);
    if (plan.smallDisk) {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k,nr_inodes=64,mode=755', 'none', base]);
      this.undo.push(() => void spawnSync('umount', ['-l', base]));
    }
    this.runDir = join(base, 'run');
    this.#uid = 61_000 + lane;
    this.#program = plan.asUser ? this.lab.ownCopy() : underTest;
    if (plan.hook !== 'bundled' && plan.hook !== 'in-process') this.lab.hook(plan.stop, hooks[plan.hook]);
    this.#command = this.lab.guest(plan.temper);
    if (plan.asUser)
      for (const path of [
        this.lab.dir,
        base,
        this.lab.hooks,
        ...readdirSync(this.lab.hooks).map((name) => join(this.lab.hooks, name)),
      ])
        chownSync(path, this.#uid, this.#uid);
    chmodSync(this.lab.dir, 0o755);
    this.setClock(0);
    // Where the other user may reach it.
    if (plan.ownClock && powers.clock !== null) copyFileSync(powers.clock, this.lab.file('clock.so'));
    chmodSync(this.#clock, 0o644);
  }

  /** Words before a command, so that it runs as this day's user. */
  get asUser(): string[] {
    return this.plan.asUser
      ? ['setpriv', '--reuid', String(this.#uid), '--regid', String(this.#uid), '--clear-groups']
      : [];
  }

  get #clock(): string {
    return this.lab.file('clock');
  }

  /** By how many seconds the wall clock is off from now on. */
  setClock(seconds: number): void {
    const offset = Buffer.alloc(8);
    offset.writeBigInt64LE(BigInt(seconds));
    // Written in place, because it is mapped.
    const fd = openSync(this.#clock, constants.O_WRONLY | constants.O_CREAT);
    writeSync(fd, offset);
    closeSync(fd);
  }

  get serial(): string {
    return read(this.lab.serial);
  }

  start(stderr: Plan['stderr']): Trap {
    const { plan, powers } = this;
    const rule = plan.hook === 'in-process' ? ['--signal', `${plan.stop},monitorcommand=system_powerdown`] : [];
    const closed = stderr === 'closed' ? ['sh', '-c', 'exec "$@" 2>&-', 'sh'] : [];
    let fd: Stdio = 'pipe';
    if (stderr === 'closed') fd = 'ignore';
    if (stderr === 'full') this.#fds.push((fd = openSync('/dev/full', 'w')));
    const trap = this.lab.start({
      program: this.#program,
      through: [...this.asUser, ...closed],
      stdio: ['ignore', 'ignore', fd],
      options: [
        '--run-dir',
        this.runDir,
        '--hooks',
        this.lab.hooks,
        '--on-death',
        plan.onDeath,
        '--timeout',
        String(timeoutMs(this.plan) / 1000),
        '--kill-after',
        String(killAfterMs / 1000),
        '--press',
        '1',
        ...rule,
      ],
      command: this.#command,
      env: {
        HOME: '/nowhere',
        ...(plan.ownClock &&
          powers.clock !== null && { LD_PRELOAD: this.lab.file('clock.so'), ENDURANCE_CLOCK: this.#clock }),
      },
    });
    // Nobody reads it: what does not fit into the pipe is qemu-trap's to lose.
    if (stderr === 'unread') trap.child.stderr?.removeAllListeners('data').pause();
    return trap;
  }

  /** Living processes of this day, by what they run. */
  processes(): { qemu: number[]; hooks: number[]; all: number[] } {
    const all = this.lab.left();
    const qemu = all.filter((pid) => read(`/proc/${pid}/cmdline`).startsWith('qemu-system'));
    return { qemu, hooks: all.filter((pid) => read(`/proc/${pid}/environ`).includes('QEMU_TRAP_HOOK=')), all };
  }

  /** @returns whether there was such a process */
  send(pid: number, signal: NodeJS.Signals): boolean {
    try {
      process.kill(pid, signal);
      return true;
    } catch {
      return false;
    }
  }

  /** Gives back what a fault took that the next start needs. */
  mend(): void {
    const base = this.lab.file('small');
    for (const name of readdirSync(base)) if (name.startsWith('full-')) rmSync(join(base, name));
    if (!existsSync(this.lab.hooks)) mkdirSync(this.lab.hooks, { mode: 0o755 });
  }

  async clear(): Promise<void> {
    for (const undo of this.undo.reverse()) undo();
    for (const fd of this.#fds) closeSync(fd);
    for (const pid of this.lab.left()) this.send(pid, 'SIGKILL');
    await until('all is over', () => this.lab.left().length === 0).catch(() => undefined);
    rmSync(this.lab.dir, { recursive: true, force: true });
  }
}
