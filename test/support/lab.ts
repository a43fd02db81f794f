import assert from 'node:assert/strict';
import { spawn, type ChildProcess, type SpawnOptions, type StdioOptions } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { TestContext } from 'node:test';
import { QmpClient } from '../../src/qmp/client.js';
import { bootSector, guestSays, type PowerButtonBehaviour } from '../../src/commands/try/guest.js';
import { identify } from '../../src/system/process-identity.js';

/*
 * Real QEMUs under the real qemu-trap, in a folder of their own; what a test leaves behind is found, and ended by pid.
 */

export const program = resolve('dist/qemu-trap.cjs');
/** What qemu-trap runs on, where a test names no other. */
const nodeUnderTest = process.env['QEMU_TRAP_TEST_NODE'] || process.execPath;
const patienceMs = 60_000;

/** Every Node that qemu-trap is for and that is here, by its major version: the tests' own, and what setup.sh has fetched. */
export function nodes(): [version: string, path: string][] {
  const own = process.versions.node.split('.')[0] as string;
  const others = ['18', '20', '22', '24'].map((version): [string, string] => [
    version,
    resolve(`.cache/nodes/node_modules/node${version}/bin/node`),
  ]);
  return [[own, process.execPath], ...others.filter(([version, path]) => version !== own && existsSync(path))];
}

/** Retries `attempt` until it gives a value that is not false, null or undefined; errors count as not yet. */
export async function until<T>(what: string, attempt: () => T | Promise<T>, ms = patienceMs): Promise<NonNullable<T>> {
  const deadline = performance.now() + ms;
  let last: unknown;
  for (;;) {
    try {
      const value = await attempt();
      if (value !== false && value !== null && value !== undefined) return value;
    } catch (error) {
      last = error;
    }
    if (performance.now() > deadline) throw new Error(`not in time: ${what}${last ? ` (${last})` : ''}`);
    await new Promise((resume) => setTimeout(resume, 10));
  }
}

export function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** What the descriptors of a process lead to. */
export function openFiles(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).map((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      return '';
    }
  });
}

/** Whether a process lives; a zombie counts as dead. */
export function isAlive(pid: number): boolean {
  const stat = read(`/proc/${pid}/stat`);
  return stat !== '' && !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
}

/**
 * Ends a child by SIGKILL, and reaps it: a process is a zombie by its first thread while its others still hold its
 * descriptors, and so its locks.
 */
export async function kill(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL');
  await until('it is reaped', () => child.exitCode !== null || child.signalCode !== null);
}

export interface LogLine {
  readonly event: string;
  readonly level: string;
  readonly message: string;
  readonly [fact: string]: unknown;
}

/** The lines of a log in JSON. */
export function parseLog(text: string): LogLine[] {
  return text.split('\n').flatMap((line) => {
    try {
      // QEMU writes a message in pieces: one that is killed in between leaves a piece in front of the next line.
      return [JSON.parse(line.slice(Math.max(0, line.indexOf('{"time":')))) as LogLine];
    } catch {
      return [];
    }
  });
}

export interface StartOptions {
  /** qemu-trap's own options. */
  readonly options?: readonly string[];
  readonly temper?: PowerButtonBehaviour;
  /** QEMU's options beyond the guest's. */
  readonly qemu?: readonly string[];
  /** Another command in QEMU's place, whole; empty: none. */
  readonly command?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  readonly stdio?: StdioOptions;
  /** What runs qemu-trap; its words come before Node's. */
  readonly through?: readonly string[];
  /** Another Node. */
  readonly node?: string;
  /** Another copy of qemu-trap. */
  readonly program?: string;
  readonly log?: 'json' | 'text';
  readonly detached?: boolean;
}

/** One test's folder, hooks and processes. */
export class Lab {
  readonly dir = mkdtempSync(join(tmpdir(), 'qemu-trap-test-'));
  readonly hooks = join(this.dir, 'hooks');
  readonly runDir = join(this.dir, 'run');
  readonly serial = join(this.dir, 'serial');
  /** In the environment of each of its processes. */
  readonly mark = `QEMU_TRAP_TEST=${randomBytes(8).toString('hex')}`;

  constructor(t: Pick<TestContext, 'after'>) {
    mkdirSync(this.hooks, { mode: 0o755 });
    t.after(async () => {
      for (const pid of this.left()) {
        try {
          process.kill(pid, 'SIGKILL');
        } catch {
          // Gone meanwhile.
        }
      }
      await until('the processes of the test are gone', () => this.left().length === 0);
      rmSync(this.dir, { recursive: true, force: true });
    });
  }

  /** Every living process that this test started, whatever became of its parents. */
  left(): number[] {
    return readdirSync('/proc')
      .map(Number)
      .filter(
        (pid) => pid > 1 && pid !== process.pid && isAlive(pid) && read(`/proc/${pid}/environ`).includes(this.mark),
      );
  }

  file(name: string): string {
    return join(this.dir, name);
  }

  /** Writes a hook into the hooks directory. */
  hook(name: string, text: string, mode = 0o755): string {
    const path = join(this.hooks, name);
    writeFileSync(path, text, { mode });
    return path;
  }

  /** The program of a copy of qemu-trap, for a user who may not reach the project's folder. */
  ownCopy(): string {
    for (const part of ['dist', 'hooks']) cpSync(part, this.file(`app/${part}`), { recursive: true });
    return this.file('app/dist/qemu-trap.cjs');
  }

  guest(temper: PowerButtonBehaviour = 'obedient'): string[] {
    const image = this.file(`${temper}.img`);
    // A guest that boots from it just now must not find it cut off.
    if (!existsSync(image)) writeFileSync(image, bootSector(temper));
    return [
      'qemu-system-x86_64',
      '-M',
      'pc',
      '-m',
      '16',
      '-display',
      'none',
      '-net',
      'none',
      '-serial',
      `file:${this.serial}`,
      '-drive',
      `file=${image},format=raw,snapshot=on`,
    ];
  }

  /** Starts any program as one of this test's. */
  spawn(words: readonly string[], options: SpawnOptions = {}): ChildProcess {
    const [first = '', ...rest] = words;
    const [name, value] = this.mark.split('=') as [string, string];
    return spawn(first, rest, {
      stdio: ['ignore', 'pipe', 'pipe'],
      cwd: this.dir,
      ...options,
      env: { ...process.env, ...options.env, [name]: value },
    });
  }

  /** Starts a program that has said `words` when it is ready; with what it has said so far. */
  async spawnUntil(
    program: readonly string[],
    words: string,
    options: SpawnOptions = {},
  ): Promise<{ readonly child: ChildProcess; readonly said: () => string }> {
    const child = this.spawn(program, options);
    let said = '';
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => (said += chunk));
    await until(`${program[0]} says '${words}'`, () => said.includes(words)).catch((error: Error) => {
      throw new Error(`${error.message}; it said:\n${said}`);
    });
    return { child, said: () => said };
  }

  start(options: StartOptions = {}): Trap {
    const command = options.command ?? [...this.guest(options.temper), ...(options.qemu ?? [])];
    const own = [
      '--run-dir',
      this.runDir,
      '--state-dir',
      this.file('state'),
      '--log',
      options.log ?? 'json',
      ...(options.options ?? []),
    ];
    const child = this.spawn(
      [
        ...(options.through ?? []),
        options.node ?? nodeUnderTest,
        options.program ?? program,
        ...own,
        ...(command.length > 0 ? ['--', ...command] : []),
      ],
      {
        stdio: options.stdio ?? ['ignore', 'pipe', 'pipe'],
        env: { QEMU_TRAP_HOOKS: '', ...options.env },
        detached: options.detached ?? true,
      },
    );
    return new Trap(this, child);
  }

  /** With its guest up. */
  async startGuest(options: StartOptions = {}): Promise<Trap> {
    const trap = this.start(options);
    await trap.ready();
    await this.guestSaid('up');
    return trap;
  }

  /** A process that hangs, as one that a debugger holds does. */
  async hang(pid: number): Promise<void> {
    await this.spawnUntil(['python3', resolve('test/support/hold.py'), String(pid)], 'held');
  }

  said(words: keyof typeof guestSays): number {
    return read(this.serial).split(guestSays[words]).length - 1;
  }

  async guestSaid(words: keyof typeof guestSays, times = 1): Promise<void> {
    await until(`the guest says '${guestSays[words]}' ${times} times`, () => this.said(words) >= times);
  }

  /** Nothing is left behind: no process, no run directory. */
  async assertNothingLeft(): Promise<void> {
    await until('no process is left', () => this.left().length === 0, 5_000);
    assert.ok(!readdirSync(this.dir).includes('run'), 'the run directory is gone');
  }
}

/** A lab outside of a test, cleared away when it was used. */
export async function withLab<T>(use: (lab: Lab) => Promise<T>): Promise<T> {
  const undo: (() => unknown)[] = [];
  try {
    return await use(new Lab({ after: (each: unknown) => void undo.push(each as () => unknown) }));
  } finally {
    for (const each of undo.reverse()) await each();
  }
}

/** One qemu-trap under test. */
export class Trap {
  stdout = '';
  stderr = '';
  readonly exited: Promise<number>;
  readonly pid: number;

  constructor(
    readonly lab: Lab,
    readonly child: ChildProcess,
  ) {
    this.pid = child.pid as number;
    child.stdout?.on('data', (chunk) => (this.stdout += chunk));
    child.stderr?.on('data', (chunk) => (this.stderr += chunk));
    this.exited = new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code, signal) =>
        code === null ? reject(new Error(`qemu-trap was ended by ${signal}`)) : resolve(code),
      );
    });
    this.exited.catch(() => undefined);
  }

  /** The log lines so far; what is not one (QEMU's own words, say) is left out. */
  get log(): LogLine[] {
    return parseLog(this.stderr);
  }

  events(name: string): LogLine[] {
    return this.log.filter(({ event }) => event === name);
  }

  async event(name: string, times = 1): Promise<LogLine> {
    await until(`event ${name}, ${times} times, in:\n${this.stderr}`, () => this.events(name).length >= times).catch(
      (error) => {
        throw new Error(`${error.message}\nThe log:\n${this.stderr}`);
      },
    );
    return this.events(name)[times - 1] as LogLine;
  }

  async ready(): Promise<void> {
    await this.event('ready');
  }

  get qemuPid(): number {
    return Number((this.events('start')[0] ?? this.events('takeover')[0])?.['pid']);
  }

  kill(signal: NodeJS.Signals): void {
    process.kill(this.pid, signal);
  }

  async die(): Promise<void> {
    await kill(this.child);
  }

  /** Ended within the time that a test has, with its status. */
  async status(): Promise<number> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`qemu-trap has not ended; its log:\n${this.stderr}`)), 120_000);
    });
    return Promise.race([this.exited, late]).finally(() => clearTimeout(timer));
  }

  /** The last line, which says how it ended. */
  get verdict(): LogLine {
    const last = this.log.at(-1);
    assert.equal(last?.event, 'exit', `the last line says how it ended; the log:\n${this.stderr}`);
    return last as LogLine;
  }
}

/** What looks like the run directory of a living qemu-trap, where `--status` looks for those: the test's own process. */
export function baitRunDir(t: Pick<TestContext, 'after'>): string {
  const dir = mkdtempSync(join(tmpdir(), 'qemu-trap-bait-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  writeFileSync(join(dir, 'lock'), identify(process.pid) ?? '');
  return dir;
}

/** A client on the VM's spare monitor. */
export async function monitor(lab: Lab, name = 'qmp.sock'): Promise<{ client: QmpClient; socket: Socket }> {
  const socket = createConnection(join(lab.runDir, name));
  const client = new QmpClient(socket, { onEvent: () => undefined, onClose: () => undefined });
  await client.ready;
  return { client, socket };
}

/** Executes one command on the VM's spare monitor. */
export async function execute(lab: Lab, command: string, args?: Readonly<Record<string, unknown>>): Promise<unknown> {
  const { client, socket } = await monitor(lab);
  try {
    return await client.execute(command, args);
  } finally {
    socket.destroy();
  }
}

export async function runState(client: QmpClient): Promise<string> {
  return String(((await client.execute('query-status')) as { status: string }).status);
}

/** Says one line on the human monitor, and waits until QEMU has hung up. */
export function human(lab: Lab, line: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(`${lab.runDir}/monitor.sock`);
    socket.on('error', reject).on('close', () => resolve());
    socket.on('data', (chunk) => {
      if (chunk.toString().includes('(qemu)') && socket.writable) socket.end(`${line}\n`);
    });
  });
}
