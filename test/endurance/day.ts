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
import { createConnection, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { guestSays } from '../../src/commands/try/guest.js';
import { isAlive, Lab, program, read, until, type LogLine, type Trap } from '../support/lab.js';
import { type Complaint, type Ended, leftovers, quietly, watchEnd, within } from './life.js';
import { Random, type Fault, type Plan, type Powers } from './plan.js';

/*
 * One bad day lived through, with a real QEMU and its guest, and judged.
 */

/** Longer than what its reserve must leave a guest that takes two seconds to go. */
const timeoutMs = (plan: Plan): number => (plan.temper === 'lingering' ? 14_000 : 6_000);
const killAfterMs = 1_500;
/** For what a loaded machine takes longer; a qemu-trap that has not ended by then hangs. */
const slackMs = 30_000;
const patienceMs = 20_000;

/** What became of a day, in the words of the summary. */
export interface Judgement {
  readonly outcome: string;
  readonly injected: readonly Fault['kind'][];
  readonly pressed: boolean;
  readonly complaints: readonly Complaint[];
  readonly log: string;
}

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

/** What is made in it meanwhile is removed too, within reason. */
function remove(directory: string): void {
  for (let tries = 0; tries < 20 && existsSync(directory); tries++) {
    try {
      rmSync(directory, { recursive: true, force: true });
    } catch {
      // Somebody has just put something there.
    }
  }
}

type Stdio = 'ignore' | 'pipe' | number;

/** The guest, qemu-trap and whatever else belongs to one day. */
class Day {
  readonly lab: Lab;
  readonly runDir: string;
  readonly injected: Fault['kind'][] = [];
  readonly #undo: (() => void)[] = [];
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
      this.#undo.push(() => void spawnSync('umount', ['-l', base]));
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
    this.#setClock(0);
    // Where the other user may reach it.
    if (plan.ownClock && powers.clock !== null) copyFileSync(powers.clock, this.lab.file('clock.so'));
    chmodSync(this.#clock, 0o644);
  }

  get #asUser(): string[] {
    return this.plan.asUser
      ? ['setpriv', '--reuid', String(this.#uid), '--regid', String(this.#uid), '--clear-groups']
      : [];
  }

  get #clock(): string {
    return this.lab.file('clock');
  }

  /** By how many seconds the wall clock is off from now on. */
  #setClock(seconds: number): void {
    const offset = Buffer.alloc(8);
    offset.writeBigInt64LE(BigInt(seconds));
    // Written over, for it is mapped.
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
      through: [...this.#asUser, ...closed],
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

  #send(pid: number, signal: NodeJS.Signals): boolean {
    try {
      process.kill(pid, signal);
      return true;
    } catch {
      return false;
    }
  }

  /** Does what `fault` says; what it needs may not be there, and then nothing is injected. */
  async inject(fault: Fault, trap: Trap): Promise<void> {
    const random = new Random(fault.seed);
    const done = (): void => void this.injected.push(fault.kind);
    const stopFor = async (pids: readonly number[]): Promise<void> => {
      const stopped = pids.filter((pid) => this.#send(pid, 'SIGSTOP'));
      if (stopped.length === 0) return;
      done();
      await new Promise((resolve) => setTimeout(resolve, fault.lasts));
      for (const pid of stopped) this.#send(pid, 'SIGCONT');
    };
    const isUp = isAlive(trap.pid);
    if (!isUp && fault.kind !== 'remove-hooks') return;
    switch (fault.kind) {
      case 'kill-hook':
        for (const pid of this.processes().hooks) if (this.#send(pid, 'SIGKILL')) done();
        return;
      case 'stop-hook':
        // For good: qemu-trap has to end what does not move.
        for (const pid of this.processes().hooks) if (this.#send(pid, 'SIGSTOP')) done();
        return;
      case 'stop-trap':
        return stopFor([trap.pid]);
      case 'kill-trap':
        if (this.#send(trap.pid, 'SIGKILL')) done();
        return;
      case 'stop-qemu':
        return stopFor(this.processes().qemu);
      case 'kill-qemu':
        for (const pid of this.processes().qemu) if (this.#send(pid, 'SIGKILL')) done();
        return;
      case 'hang-qemu':
        for (const pid of this.processes().qemu) if (this.#send(pid, 'SIGSTOP')) done();
        return;
      case 'fill-disk':
        return this.#fillDisk(done);
      case 'few-files':
        return this.#limit(trap.pid, `--nofile=${22 + random.below(12)}:`, done);
      case 'few-processes':
        return this.#limit(trap.pid, '--nproc=0:', done);
      case 'remove-run-dir':
        remove(this.runDir);
        return done();
      case 'remove-hooks':
        remove(this.lab.hooks);
        return done();
      case 'remove-socket': {
        const sockets = existsSync(this.runDir)
          ? readdirSync(this.runDir).filter((name) => name.endsWith('.sock'))
          : [];
        if (sockets.length === 0) return;
        rmSync(join(this.runDir, random.one(sockets)), { force: true });
        return done();
      }
      case 'storm':
        for (let i = 0; i < 2_000; i++)
          this.#send(
            trap.pid,
            random.one([
              'SIGUSR1',
              'SIGUSR2',
              'SIGWINCH',
              'SIGALRM',
              'SIGCONT',
              'SIGPROF',
              ...(fault.from === 'stop' ? [this.plan.stop] : []),
            ]),
          );
        return done();
      case 'rubbish':
      case 'hold-monitors':
        return this.#dialMonitors(random, fault.kind === 'rubbish', done);
      case 'set-clock':
        for (let i = 0; i < 5; i++) {
          this.#setClock(random.one([864_000, -864_000, 3_600, -3_600, 3, -3, 0]));
          await new Promise((resolve) => setTimeout(resolve, fault.lasts / 5));
        }
        return done();
      case 'second-stop':
        if (this.#send(trap.pid, random.one(['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGPWR']))) done();
        return;
      case 'quit':
        if (this.#send(trap.pid, 'SIGQUIT')) done();
        return;
    }
  }

  /** As the user whose process it is: root may lack the right to change another's limits (CAP_SYS_RESOURCE). */
  #limit(pid: number, limit: string, done: () => void): void {
    const [command = '', ...words] = [...this.#asUser, 'prlimit', '--pid', String(pid), limit];
    if (spawnSync(command, words).status === 0) done();
  }

  #fillDisk(done: () => void): void {
    const base = this.lab.file('small');
    try {
      for (let i = 0; ; i++) {
        const fd = openSync(join(base, `full-${i}`), 'w');
        try {
          if (i === 0) for (;;) writeSync(fd, Buffer.alloc(4_096));
        } catch {
          // This one is full; the rest take the inodes.
        } finally {
          closeSync(fd);
        }
      }
    } catch {
      done();
    }
  }

  /** Sits on the spare monitors, as a script that hangs would, or talks nonsense to them. */
  #dialMonitors(random: Random, talks: boolean, done: () => void): void {
    for (const name of ['qmp.sock', 'monitor.sock', 'hook-late.sock']) {
      const path = join(this.runDir, name);
      if (!existsSync(path)) continue;
      const socket: Socket = createConnection(path);
      socket.on('error', () => undefined);
      socket.resume();
      // No letters to the human monitor: one alone may be a command there, such as s for stop.
      const byte = (): number =>
        name === 'monitor.sock' && random.chance(0.95)
          ? 128 + random.below(128)
          : name === 'monitor.sock'
            ? 0x0a
            : random.below(256);
      if (talks)
        for (let i = 0; i < 20; i++) socket.write(Buffer.from(Array.from({ length: 1 + random.below(3_000) }, byte)));
      this.#undo.push(() => socket.destroy());
      done();
    }
  }

  /** Gives back what a fault took that the next start needs. */
  mend(): void {
    const base = this.lab.file('small');
    for (const name of readdirSync(base)) if (name.startsWith('full-')) rmSync(join(base, name));
    if (!existsSync(this.lab.hooks)) mkdirSync(this.lab.hooks, { mode: 0o755 });
  }

  async clear(): Promise<void> {
    for (const undo of this.#undo.reverse()) undo();
    for (const fd of this.#fds) closeSync(fd);
    for (const pid of this.lab.left()) this.#send(pid, 'SIGKILL');
    await until('all is over', () => this.lab.left().length === 0).catch(() => undefined);
    rmSync(this.lab.dir, { recursive: true, force: true });
  }
}

/**
 * Lives one day, whatever comes.
 * @param lane days that are lived at the same time have a number each
 * @param underTest qemu-trap, or what is to be judged in its place
 */
export async function live(plan: Plan, powers: Powers, lane: number, underTest = program): Promise<Judgement> {
  const day = new Day(plan, powers, lane, underTest);
  const complaints: Complaint[] = [];
  const complain = (kind: Complaint['kind'], what: string): void => void complaints.push({ kind, what });
  let outcome = '';
  let pressed = false;
  const logs: string[] = [];
  try {
    const trap = day.start(plan.stderr);
    const { ended, isOver } = watchEnd(trap);
    const at = (from: Fault['from']): Promise<unknown>[] =>
      plan.faults
        .filter((fault) => fault.from === from)
        .map(async (fault) => {
          await within(fault.after, ended);
          await day.inject(fault, trap);
        });
    const early = at('start');

    if (plan.stopAt === 'up')
      await within(
        patienceMs,
        quietly(until('the guest is up', () => isOver() || day.serial.includes(guestSays.up), patienceMs)),
      );
    else await within(plan.stopAt, ended);
    const wasUp = day.serial.includes(guestSays.up);
    try {
      process.kill(trap.pid, plan.stop);
    } catch {
      // It has ended already.
    }
    const late = at('stop');
    const end = await within(timeoutMs(plan) + killAfterMs + slackMs, ended);
    await Promise.all([...early, ...late]);
    const has = (...kinds: Fault['kind'][]): boolean => day.injected.some((kind) => kinds.includes(kind));
    const serial = day.serial;
    const bye = serial.includes(guestSays.bye);
    pressed = serial.includes(guestSays.pressed);
    // Its last words may still be on their way.
    if (plan.stderr === 'read')
      await quietly(
        until(
          'its last line is here',
          () => trap.events('exit').length > 0 || end === null || end.code === 125 || end.signal,
          3_000,
        ),
      );
    logs.push(trap.stderr);
    const last: LogLine | undefined =
      plan.stderr === 'read' ? trap.log.filter(({ event }) => event === 'exit').at(-1) : undefined;

    if (end === null) {
      complain('hang', `not ended ${(timeoutMs(plan) + killAfterMs + slackMs) / 1000} s after ${plan.stop}`);
      outcome = 'hang';
    } else if (has('kill-trap') && end.signal === 'SIGKILL') {
      outcome = await afterwards(day, plan, complain, logs);
    } else {
      outcome = end.signal ?? String(end.code);
      judge({ plan, has, end, bye, pressed, wasUp, serial, last, complain, stderr: trap.stderr });
      await leavesNothing(day, has, complain);
    }
    return { outcome, injected: day.injected, pressed, complaints, log: logs.join('\n--\n') };
  } finally {
    await day.clear();
  }
}

interface Evidence {
  readonly plan: Plan;
  readonly has: (...kinds: Fault['kind'][]) => boolean;
  readonly end: Ended;
  readonly bye: boolean;
  readonly pressed: boolean;
  readonly wasUp: boolean;
  readonly serial: string;
  readonly last: LogLine | undefined;
  readonly complain: (kind: Complaint['kind'], what: string) => void;
  readonly stderr: string;
}

/** Whether exit status, last line, and what the guest saw are one story, and the guest had its chance. */
function judge({ plan, has, end, bye, pressed, wasUp, serial, last, complain, stderr }: Evidence): void {
  if (end.signal !== null) {
    // Before its first trap is set Node ends by a signal's own default; QEMU is not there then.
    if (serial !== '' || wasUp) complain('untrue', `qemu-trap was ended by ${end.signal} with a guest that ran`);
    return;
  }
  if (end.code === 125 || (end.code !== 0 && serial === '')) {
    // A start that a fault made impossible: then no guest may have been there to lose.
    const mayFail =
      has('fill-disk', 'few-files', 'few-processes', 'remove-run-dir', 'kill-qemu', 'hang-qemu', 'quit') ||
      (end.code === 125 && has('remove-hooks'));
    if (serial !== '') complain('lost', `status ${end.code} with a guest that ran:\n${stderr}`);
    else if (!mayFail && end.code !== 124)
      complain('untrue', `status ${end.code}, and nothing stood in the way of a start:\n${stderr}`);
    return;
  }
  const heldUp = has('kill-qemu', 'hang-qemu', 'quit');
  const willing = plan.temper !== 'stubborn';
  if (last !== undefined && last['status'] !== end.code)
    complain('untrue', `status ${end.code}, and the last line says ${String(last['status'])}`);
  if (plan.stderr === 'read' && last === undefined) complain('untrue', `no last line:\n${stderr}`);
  if (bye) {
    if (end.code !== 0 && !heldUp) complain('untrue', `the guest went by itself, and the status is ${end.code}`);
    return;
  }
  if (end.code === 0) {
    // Nobody was there to be lost: told to quit before the guest's first instruction.
    const verdict = String(last?.['cause'] ?? last?.['verdict'] ?? '');
    if (serial !== '' || (last !== undefined && !['never-ran', 'clean'].includes(verdict)))
      complain('untrue', `status 0, and the guest never said goodbye (${verdict})`);
    return;
  }
  if (willing && !heldUp)
    complain(
      'lost',
      `the guest was cut off with status ${end.code}${pressed ? ' after it had heard its button' : ' and never heard its button'}`,
    );
  if (!willing && !pressed && !heldUp && serial !== '')
    complain('lost', `a stubborn guest never heard its button (status ${end.code})`);
  if (![124, 137].includes(end.code as number)) complain('untrue', `status ${end.code}, where 124 or 137 is the truth`);
  if (end.code === 137 && !has('kill-qemu', 'hang-qemu', 'stop-qemu', 'stop-trap'))
    complain('untrue', 'SIGKILL was needed, and QEMU was free to quit');
}

async function leavesNothing(day: Day, has: Evidence['has'], complain: Evidence['complain']): Promise<void> {
  // The run directory of a qemu-trap that was killed stays for the next one.
  for (const { kind, what } of await leftovers(day.lab, has('kill-trap') ? null : day.runDir)) complain(kind, what);
}

/** qemu-trap was killed: the next start finds the guest again (keep), or no QEMU at all (kill). */
async function afterwards(day: Day, plan: Plan, complain: Evidence['complain'], logs: string[]): Promise<string> {
  const before = day.serial;
  if (plan.onDeath === 'kill') {
    await quietly(until('QEMU has gone with it', () => day.processes().qemu.length === 0, 10_000));
    if (day.processes().qemu.length > 0) complain('leftover', 'QEMU outlived its qemu-trap with --on-death kill');
  }
  day.mend();
  const kept = plan.onDeath === 'keep' ? day.processes().qemu : [];
  const next = day.start('read');
  const { ended, isOver } = watchEnd(next);
  await quietly(
    until(
      'the next one has its guest',
      () => isOver() || (next.events('ready').length > 0 && day.serial.includes(guestSays.up)),
      patienceMs,
    ),
  );
  if (day.processes().qemu.length > 1) complain('leftover', `two QEMUs on one disk: ${day.processes().qemu.join(' ')}`);
  const took = next.events('takeover').length > 0;
  if (kept.length > 0 && !took && !isOver() && kept.some(isAlive))
    complain('lost', `QEMU ${kept.join(' ')} was kept, and is not taken over`);
  try {
    process.kill(next.pid, 'SIGTERM');
  } catch {
    // It has ended with the guest it took over.
  }
  const end = await within(timeoutMs(plan) + killAfterMs + slackMs, ended);
  logs.push(next.stderr);
  const bye = day.serial.includes(guestSays.bye) || before.includes(guestSays.bye);
  if (end === null) complain('hang', 'the next qemu-trap has not ended');
  else if (plan.temper === 'stubborn' ? end.code !== 124 : end.code !== 0 || !bye)
    complain(
      'lost',
      `after a SIGKILL of qemu-trap, the next one ended with ${end.signal ?? end.code}${bye ? '' : ', and the guest never said goodbye'}:\n${next.stderr}`,
    );
  await leavesNothing(day, () => false, complain);
  return `killed, then ${took ? 'taken over' : 'anew'}, ${end?.signal ?? end?.code ?? 'hang'}`;
}
