import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { after, test } from 'node:test';
import { bootSector, guestSays, type PowerButtonBehaviour } from '../../src/commands/try/guest.js';
import { isAlive, program, read, until } from '../support/lab.js';

/*
 * The VM `web` of the examples, in a box: their own files are what runs, and only web.conf is the test's.
 */

export const examples = resolve('examples');

/** Runs one line of a shell to its end. */
export function sh(line: string): { status: number | null; output: string } {
  const { status, stdout } = spawnSync('sh', ['-c', `exec 2>&1; ${line}`], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return { status, output: stdout };
}

/** The same, and it must succeed. */
export function must(line: string): string {
  const { status, output } = sh(line);
  assert.equal(status, 0, `${line}\n${output}`);
  return output;
}

/** Starts what runs beside the tests, until the box ends. */
export function background(command: string, ...args: string[]): void {
  spawn(command, args, { stdio: 'ignore', detached: true }).unref();
}

/** qemu-trap as `npm install -g` would leave it, and Node where its first line finds it. */
export function install(): void {
  mkdirSync('/etc/qemu-trap', { recursive: true });
  must(`ln -sfn ${program} /usr/local/bin/qemu-trap`);
  if (sh('command -v node').status !== 0) symlinkSync(process.execPath, '/usr/local/bin/node');
}

function words(pid: number): string[] {
  return read(`/proc/${pid}/cmdline`).split('\0');
}

export class Vm {
  readonly serial: string;

  #endings = 0;

  constructor(
    private readonly logFiles: () => readonly string[],
    readonly dir = mkdtempSync('/tmp/qemu-trap-vm-'),
  ) {
    this.serial = `${dir}/serial`;
  }

  /** Writes /etc/qemu-trap/web.conf. */
  configure(temper: PowerButtonBehaviour = 'obedient', options = ''): void {
    const image = `${this.dir}/${temper}.img`;
    writeFileSync(image, bootSector(temper));
    this.forget();
    this.#endings = this.endings.length;
    const qemu = `-M pc -m 16 -display none -net none -serial file:${this.serial} -drive file=${image},format=raw,snapshot=on`;
    writeFileSync('/etc/qemu-trap/web.conf', `QEMU_OPTIONS="${qemu}"\nQEMU_TRAP_OPTIONS="${options}"\n`);
  }

  said(what: keyof typeof guestSays): number {
    return read(this.serial).split(guestSays[what]).length - 1;
  }

  async says(what: keyof typeof guestSays, times = 1): Promise<void> {
    await until(`the guest says '${guestSays[what]}'; the log:\n${this.log}`, () => this.said(what) >= times);
  }

  /** What the guest said is forgotten; the next QEMU begins a file of its own. */
  forget(): void {
    rmSync(this.serial, { force: true });
  }

  /** The living QEMUs of it. */
  get qemus(): number[] {
    return readdirSync('/proc')
      .map(Number)
      .filter((pid) => pid > 1 && /(^|\/)qemu-system-x86_64$/.test(words(pid)[0] ?? '') && isAlive(pid));
  }

  /** The living qemu-traps of it. */
  get traps(): number[] {
    return readdirSync('/proc')
      .map(Number)
      .filter(
        (pid) =>
          pid > 0 &&
          /(^|\/)qemu-trap$/.test(words(pid)[1] ?? '') &&
          /(^|\/)node$/.test(words(pid)[0] ?? '') &&
          isAlive(pid),
      );
  }

  async gone(): Promise<void> {
    await until(
      `nothing of the VM is left; the log:\n${this.log}`,
      () => this.qemus.length === 0 && this.traps.length === 0,
    );
    assert.ok(!existsSync('/run/qemu-trap/web'), 'the run directory is gone');
  }

  get log(): string {
    return this.logFiles().map(read).join('');
  }

  /** The last lines of qemu-trap, one for each of its ends. */
  get endings(): string[] {
    return [...this.log.matchAll(/qemu-trap: web: .*exit status \d+$/gm)].map(String);
  }

  /** The guest was asked, and went by itself; the last line says so. */
  async wasClean(): Promise<void> {
    await this.gone();
    assert.equal(this.said('bye'), 1, this.log);
    await until(`the log has one ending more:\n${this.log}`, () => this.endings.length === this.#endings + 1);
    assert.match(this.endings.at(-1) ?? '', /clean shutdown: the guest powered off .*exit status 0$/);
  }

  remove(): void {
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** One service manager, as its example uses it. */
export interface Manager {
  readonly name: string;
  /** Files that its example's logger, or its own, writes. */
  logs(): readonly string[];
  /** Lays the example's own files in their places, and starts what is always there; the VM is down. */
  setUp(): void | Promise<void>;
  /** Brings the VM up; settled when the manager says that it is. */
  start(): void | Promise<void>;
  /** Asks for a stop, and does not wait for it. */
  askToStop(): void;
  /** True once the manager itself says that the VM is down, and that all was well. */
  saysDown(): boolean;
  /** The host's way down: everything is stopped, and the manager itself ends. `null` where the box would end with it. */
  readonly shutDown: (() => void | Promise<void>) | null;
  /** Its own patience, made short; what it had is put back by {@link Manager.patient}. */
  impatient(): void;
  patient(): void;
  /** Asks for a stop in the way in which the manager sends its SIGKILL at last. */
  stopOrKill(): void;
  /** How it is to be stopped, if it starts again whatever ends, as `--stop` has it; `null`: `--stop` stops it; not there: it does not see it. */
  readonly ownStop?: string | null;
  /** What it does when qemu-trap was killed. */
  readonly afterCrash: 'restarts' | 'stays down';
}

export const cycles = 10;

/** The cells of one row of the table in docs/service-managers.md: each is a test. */
export function testManager(manager: Manager): Vm {
  const vm = new Vm(() => manager.logs());
  const start = async (temper: PowerButtonBehaviour = 'obedient', options = ''): Promise<void> => {
    vm.configure(temper, options);
    try {
      await manager.start();
    } catch (error) {
      throw new Error(`${error}\nThe log:\n${vm.log}`);
    }
    await vm.says('up');
    assert.equal(vm.qemus.length, 1);
  };
  const down = async (): Promise<void> => {
    await until(`${manager.name} says that the VM is down; the log:\n${vm.log}`, () => manager.saysDown());
  };

  test(`${manager.name}: set up`, async () => {
    install();
    vm.configure();
    await manager.setUp();
    await vm.gone();
  });

  test(`${manager.name}, stop: ${cycles} times started, ready, stopped, and each time the guest heard its button`, async () => {
    for (let cycle = 1; cycle <= cycles; cycle++) {
      await start();
      manager.askToStop();
      await down();
      await vm.wasClean();
      assert.equal(vm.said('pressed'), 1, `cycle ${cycle}`);
    }
  });

  const { ownStop } = manager;
  if (ownStop !== undefined)
    test(`${manager.name}, qemu-trap --stop: ${ownStop === null ? 'the VM goes down, and stays down' : `refused, with ${ownStop}`}`, async () => {
      await start();
      const { status, output } = sh('qemu-trap --stop web');
      if (ownStop === null) {
        assert.equal(status, 0, output);
        assert.match(output, /^web: SIGTERM: clean shutdown: .*\n$/);
        return vm.wasClean();
      }
      assert.equal(status, 125, output);
      assert.match(output, new RegExp(`^web: not stopped: .* would start it again: write ${ownStop}\\n$`));
      assert.equal(vm.said('pressed'), 0);
      manager.askToStop();
      await down();
      await vm.wasClean();
    });

  test(`${manager.name}, second stop: it changes nothing, and the guest has its time`, async () => {
    await start('lingering');
    manager.askToStop();
    await vm.says('pressed');
    manager.askToStop();
    await down();
    await vm.wasClean();
  });

  test(`${manager.name}, time-out: its SIGKILL is over --timeout infinity, and leaves no QEMU behind`, async () => {
    manager.impatient();
    await start('stubborn', '--timeout infinity');
    manager.stopOrKill();
    await until(`no QEMU is left; the log:\n${vm.log}`, () => vm.qemus.length === 0 && vm.traps.length === 0);
    assert.equal(vm.said('bye'), 0);
    vm.configure();
    manager.patient();
  });

  test(`${manager.name}, crash: a qemu-trap that was killed ${manager.afterCrash === 'restarts' ? 'is started anew' : 'stays down'}, and there is one QEMU, not two`, async () => {
    await start();
    const [trap] = vm.traps;
    const [first] = vm.qemus;
    vm.forget();
    process.kill(trap as number, 'SIGKILL');
    await until('the first QEMU is gone', () => !isAlive(first as number));
    if (manager.afterCrash === 'stays down') await start();
    await vm.says('up');
    assert.equal(vm.qemus.length, 1);
    assert.notEqual(vm.qemus[0], first);
    // A child of it looks like it between its fork and its exec.
    await until('there is one qemu-trap', () => vm.traps.length === 1);
    manager.askToStop();
    await down();
    await vm.wasClean();
  });

  const { shutDown } = manager;
  if (shutDown !== null) {
    test(`${manager.name}, host shutdown: the VM is shut down with all the rest`, async () => {
      await start('lingering');
      await shutDown();
      await vm.wasClean();
    });
  }
  after(() => vm.remove());
  return vm;
}
