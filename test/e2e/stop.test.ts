import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  writeFileSync,
  rmSync,
} from 'node:fs';
import { test } from 'node:test';
import { identify } from '../../src/system/process-identity.js';
import { isAlive, Lab, program, read, Trap, until } from '../support/lab.js';

/*
 * `--stop`, and `--status` for whoever watches a host.
 */

interface Called {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Calls qemu-trap, while the VMs' own output is read. */
function call(...words: string[]): Promise<Called> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [program, ...words], { stdio: ['ignore', 'pipe', 'pipe'] });
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (chunk) => (stdout += chunk));
    child.stderr.on('data', (chunk) => (stderr += chunk));
    child.on('close', (status) => resolve({ status, stdout, stderr }));
  });
}

/** VMs of one test: their names are theirs alone on this host. */
class Vms {
  readonly lab: Lab;
  readonly state: string[];

  constructor(t: ConstructorParameters<typeof Lab>[0]) {
    this.lab = new Lab(t);
    this.state = ['--state-dir', this.lab.file('state')];
  }

  name(short: string): string {
    return `${short}-${this.lab.dir.slice(-6)}`;
  }

  start(short: string, temper: 'obedient' | 'stubborn' | 'lingering', ...options: string[]): Trap {
    const [, ...words] = this.lab
      .guest(temper)
      .map((word) => word.replace(this.lab.serial, this.lab.file(`serial-${short}`)));
    const own = [
      '--name',
      this.name(short),
      '--run-dir',
      this.lab.file(`run-${short}`),
      ...this.state,
      '--log',
      'json',
    ];
    const command = [process.execPath, program, ...own, ...options, '--', 'qemu-system-x86_64', ...words];
    return new Trap(this.lab, this.lab.spawn(command, { detached: true }));
  }

  async up(
    short: string,
    temper: 'obedient' | 'stubborn' | 'lingering' = 'obedient',
    ...options: string[]
  ): Promise<Trap> {
    const trap = this.start(short, temper, ...options);
    await trap.ready();
    await this.saysUp(short);
    return trap;
  }

  saysUp(short: string): Promise<boolean> {
    return until(`${short} is up`, () => read(this.lab.file(`serial-${short}`)).includes('guest: up'));
  }
}

test('--stop of twenty VMs at once, two of them stubborn: a line each as it ends, a summary, and 124', async (t) => {
  const vms = new Vms(t);
  const shorts = Array.from({ length: 20 }, (_, i) => `vm${i}`);
  const traps = shorts.map((short, i) =>
    vms.start(short, i % 10 === 7 ? 'stubborn' : 'obedient', '--timeout', i % 10 === 7 ? '3' : '60'),
  );
  for (const short of shorts) await vms.saysUp(short);
  const { status, stdout } = await call('--stop', ...vms.state, ...shorts.map((short) => vms.name(short)));
  assert.equal(status, 124, stdout);
  const lines = stdout.trim().split('\n');
  assert.equal(lines.pop(), '18 shut down cleanly, 2 cut off or unknown');
  assert.equal(lines.length, 20);
  assert.equal(lines.filter((line) => /: clean shutdown: the guest powered off/.test(line)).length, 18);
  assert.equal(lines.filter((line) => /^vm\d*7-.*: forced stop: .*the guest was cut off/.test(line)).length, 2);
  for (const [i, trap] of traps.entries()) assert.equal(await trap.status(), i % 10 === 7 ? 124 : 0);
});

test('--stop of a name that is not known stops nothing; one that does not run is fine; one that stops already is waited for', async (t) => {
  const vms = new Vms(t);
  const { state } = vms;
  const trap = await vms.up('one', 'lingering');
  const unknown = await call('--stop', ...state, vms.name('one'), vms.name('two'));
  assert.equal(unknown.status, 125);
  assert.match(unknown.stderr, /^qemu-trap: --stop two-\w+: no VM of yours has that name: .*; nothing was stopped\n$/);
  assert.deepEqual(trap.events('shutdown'), []);
  const both = await Promise.all([
    call('--stop', ...state, vms.name('one')),
    call('--stop', ...state, vms.name('one')),
  ]);
  for (const { status, stdout } of both) {
    assert.equal(status, 0, stdout);
    assert.match(stdout, /^one-\w+: (SIGTERM: clean shutdown: .*|not running)\n$/);
  }
  assert.equal(await trap.status(), 0, trap.stderr);
  const again = await call('--stop', ...state, vms.name('one'));
  assert.deepEqual([again.status, again.stdout], [0, `${vms.name('one')}: not running\n`]);
  for (const words of [
    ['--stop'],
    ['--stop', '--all', 'web'],
    ['--all'],
    ['--alert'],
    ['--stop', '--status'],
    ['--stop', 'web', '--timeout', '5'],
  ]) {
    const { status, stderr } = await call(...words);
    assert.equal(status, 125, words.join(' '));
    assert.match(stderr, /^qemu-trap: .*\n$/);
  }
});

test('--stop believes only a process that holds the lock of the VM, and refuses one whose qemu-trap was killed', async (t) => {
  const vms = new Vms(t);
  const { lab } = vms;
  const bystander = lab.spawn(['sleep', '1000']);
  const runDir = lab.file('forged');
  mkdirSync(runDir, { mode: 0o700 });
  writeFileSync(`${runDir}/lock`, identify(bystander.pid as number) ?? '');
  const forged = await call('--stop', '--all', '--run-dir', runDir);
  assert.equal(forged.status, 125);
  assert.match(
    forged.stdout,
    /^forged: not stopped: process \d+ is named as its qemu-trap, and does not hold its lock: it gets no signal\n/,
  );
  assert.ok(isAlive(bystander.pid as number));
  const trap = await vms.up('left', 'obedient', '--on-death', 'keep');
  await trap.die();
  const left = await call('--stop', ...vms.state, vms.name('left'));
  assert.equal(left.status, 125);
  assert.match(left.stdout, /not stopped: its qemu-trap was killed, so no signal reaches its guest/);
  // Killed before it had written its status: its name is in the history.
  rmSync(lab.file('run-left/status.json'), { force: true });
  const early = await call('--stop', ...vms.state, vms.name('left'));
  assert.deepEqual([early.status, early.stdout], [125, left.stdout]);
});

test('--stop of a VM whose hook says "not now" is told, and not waited for for ever', async (t) => {
  const vms = new Vms(t);
  vms.lab.hook('SIGTERM', '#!/bin/sh\nexit 75\n');
  const trap = await vms.up('busy', 'obedient', '--hooks', vms.lab.hooks);
  const { status, stdout } = await call('--stop', ...vms.state, vms.name('busy'));
  assert.equal(status, 125);
  assert.match(stdout, /^busy-\w+: not stopped: the guest runs on, because its hook said "not now", .*\n$/);
  trap.kill('SIGQUIT');
  assert.equal(await trap.status(), 124);
});

test('--stop while the hook end runs says how it ended, as the one before does', async (t) => {
  const vms = new Vms(t);
  const go = vms.lab.file('go');
  vms.lab.hook('end', `#!/bin/sh\nwhile [ ! -e ${go} ]; do sleep 0.05; done\n`);
  const trap = await vms.up('slow', 'obedient', '--hooks', vms.lab.hooks);
  const first = call('--stop', ...vms.state, vms.name('slow'));
  await until('the hook end runs', () => trap.events('hook-start').some((line) => line['occasion'] === 'end'));
  const second = call('--stop', ...vms.state, vms.name('slow'));
  const isThere = await Promise.race([
    second.then(() => false),
    new Promise((resolve) => setTimeout(() => resolve(true), 2_000)),
  ]);
  assert.ok(isThere, 'it waits for the hook');
  writeFileSync(go, '');
  const [one, two] = await Promise.all([first, second]);
  assert.match(one.stdout, /: SIGTERM: clean shutdown: /);
  assert.deepEqual(two, one);
  assert.equal(one.status, 0);
});

test("--stop of another user's VM, which root sees: it is not stopped", {
  skip: process.getuid?.() === 0 ? false : 'needs root',
}, async (t) => {
  const vms = new Vms(t);
  const { lab } = vms;
  const copy = lab.ownCopy();
  chmodSync(lab.dir, 0o755);
  mkdirSync(lab.file('theirs'));
  chownSync(lab.file('theirs'), 65_534, 65_534);
  const as = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'];
  const [qemu = '', ...words] = lab.guest().map((word) => word.replace(lab.serial, lab.file('theirs/serial')));
  const own = [
    '--name',
    vms.name('theirs'),
    '--run-dir',
    lab.file('theirs/run'),
    '--state-dir',
    lab.file('theirs/state'),
  ];
  const command = [...as, process.execPath, copy, ...own, '--log', 'json', '--', qemu, ...words];
  const env = { HOME: lab.file('theirs'), TMPDIR: lab.file('theirs'), QEMU_TRAP_HOOKS: '' };
  const trap = new Trap(lab, lab.spawn(command, { env, detached: true }));
  await trap.ready();
  const { status, stderr } = await call('--stop', vms.name('theirs'));
  assert.equal(status, 125);
  assert.match(
    stderr,
    /^qemu-trap: --stop theirs-\w+: it is a VM of another user \(uid 65534\): run --stop as that user; nothing/,
  );
  assert.deepEqual(trap.events('shutdown'), []);
  trap.kill('SIGQUIT');
  assert.equal(await trap.status(), 124);
});

test('a VM in a run directory that nobody knows is found by its history, and stopped', async (t) => {
  const vms = new Vms(t);
  const { lab } = vms;
  lab.spawn([...lab.guest(), '-qmp', `unix:${lab.file('qmp')},server=on,wait=off`]);
  await lab.guestSaid('up');
  const own = ['--name', vms.name('far'), '--run-dir', lab.file('far'), ...vms.state, '--log', 'json'];
  const words = [process.execPath, program, '--attach', lab.file('qmp'), ...own];
  const trap = new Trap(lab, lab.spawn(words, { detached: true }));
  await trap.ready();
  const shown = await call('--status', '--log', 'json', ...vms.state, vms.name('far'));
  const said = JSON.parse(shown.stdout);
  assert.deepEqual([said.running, said.pid, said.guest, said.run_dir], [true, trap.pid, 'running', lab.file('far')]);
  const metrics = await call('--status', '--log', 'prometheus', ...vms.state, vms.name('far'));
  assert.match(metrics.stdout, /^qemu_trap_up\{vm="far-\w+"\} 1$/m);
  const full = openSync('/dev/full', 'w');
  const cut = spawnSync(process.execPath, [program, '--status', '--log', 'prometheus', ...vms.state, vms.name('far')], {
    stdio: ['ignore', full, 'pipe'],
  });
  assert.equal(cut.status, 125, 'half a file is none');
  const { status, stdout } = await call('--stop', ...vms.state, vms.name('far'));
  assert.equal(status, 0, stdout);
  assert.match(stdout, /^far-\w+: SIGTERM: clean shutdown/);
  assert.equal(lab.said('bye'), 1);
});

test('a VM whose run directory was removed is found by its history and its lock, and stopped', async (t) => {
  const vms = new Vms(t);
  const { lab } = vms;
  const trap = await lab.startGuest({ options: ['--name', vms.name('gone'), ...vms.state] });
  rmSync(lab.runDir, { recursive: true });
  const shown = await call('--status', '--log', 'json', ...vms.state, vms.name('gone'));
  const said = JSON.parse(shown.stdout);
  assert.deepEqual(
    [said.running, said.pid, said.qemu_pid, said.guest, said.run_dir],
    [true, trap.pid, trap.qemuPid, 'unknown', null],
  );
  const table = await call('--status', ...vms.state, vms.name('gone'));
  assert.match(table.stdout, /its run directory was removed: signals still work/);
  const asked = await call('--status', '--run-dir', lab.runDir, '--log', 'json', ...vms.state);
  assert.equal(JSON.parse(asked.stdout).pid, trap.pid, 'also if its run directory is asked for');
  const { status, stdout } = await call('--stop', '--all', '--run-dir', lab.runDir, ...vms.state);
  assert.equal(status, 0, stdout);
  assert.match(stdout, /^gone-\w+: SIGTERM: clean shutdown/);
  assert.equal(lab.said('bye'), 1);
  assert.equal(await trap.status(), 0);
});

test('a VM that is stopped during its hook start was not cut off, and has its name by then', async (t) => {
  const vms = new Vms(t);
  const { lab } = vms;
  lab.hook('start', `#!/bin/sh\nuntil [ -e '${lab.file('go')}' ]; do sleep 0.05; done\n`);
  const trap = lab.start({ options: ['--hooks', lab.hooks, '--name', vms.name('early'), ...vms.state] });
  await trap.event('hook-start');
  const where = ['--run-dir', lab.runDir, ...vms.state];
  const shown = await call('--status', ...where, '--log', 'json', vms.name('early'));
  assert.equal(JSON.parse(shown.stdout).pid, trap.pid, shown.stderr);
  const { status, stdout } = await call('--stop', ...where, vms.name('early'));
  assert.equal(status, 0, stdout);
  assert.match(stdout, /^early-\w+: SIGTERM: QEMU was not started: SIGTERM came during the hook start/);
  await trap.status();
});

test('--stop --all, in a world of its own: every VM of this user', {
  skip: process.getuid?.() === 0 ? false : 'needs root',
}, (t) => {
  const vms = new Vms(t);
  const { lab } = vms;
  const guest = lab.guest().join(' ');
  const script = lab.file('script');
  const start = (short: string): string =>
    `$trap --name ${vms.name(short)} --run-dir ${lab.file(`run-${short}`)} ${vms.state.join(' ')} -- ${guest.replace(lab.serial, lab.file(`serial-${short}`))} 2>/dev/null & `;
  writeFileSync(
    script,
    `trap="${process.execPath} ${program}"
${start('a')}
${start('b')}
for each in a b; do until grep -q 'guest: up' ${lab.file('serial-')}$each; do sleep 0.05; done; done
$trap --stop --all ${vms.state.join(' ')}; echo "status $?"
$trap --stop --all; echo "status $?"
`,
  );
  const words = ['--pid', '--fork', '--kill-child', '--mount-proc', 'sh', script];
  const { stdout } = spawnSync('unshare', words, { encoding: 'utf8', timeout: 60_000 });
  assert.match(stdout, /^2 shut down cleanly\nstatus 0\n/m);
  assert.match(stdout, /no VM of yours runs under qemu-trap here\nstatus 0\n$/);
});

test('--status --alert and --log prometheus: what the last ends were, of VMs that run and that do not', async (t) => {
  const vms = new Vms(t);
  const { state } = vms;
  const name = `${vms.name('od')}"d\\`;
  const odd = ['--name', name, '--timeout', '1'];
  const status = async (...words: string[]): Promise<Called> => call('--status', ...state, ...words);
  const clean = await vms.up('fine');
  await call('--stop', ...state, vms.name('fine'));
  assert.equal(await clean.status(), 0);
  const none = await status('--alert', vms.name('fine'));
  assert.deepEqual([none.status, none.stdout], [0, '']);
  const forced = await vms.up('odd', 'stubborn', ...odd);
  forced.kill('SIGTERM');
  assert.equal(await forced.status(), 124);
  // What else runs on this host is not the test's.
  const alarm = await status('--alert', '--run-dir', vms.lab.file('run-odd'));
  assert.equal(alarm.status, 1);
  assert.match(alarm.stdout, /^od-\S+: \d{4}-\d\d-\d\d \d\d:\d\d: SIGTERM: forced stop: .*the guest was cut off.*\n$/);
  // A start that fails is no end of a guest.
  const own = [...odd, ...state, '--run-dir', vms.lab.file('run-odd')];
  const command = [process.execPath, program, ...own, '--', 'qemu-system-x86_64', '-nonsense'];
  const refused = new Trap(vms.lab, vms.lab.spawn(command));
  assert.equal(await refused.status(), 1);
  assert.equal((await status('--alert', name)).status, 1);
  const running = await vms.up('fine');
  const lost = await vms.up('lost');
  await lost.die();
  assert.equal((await status('--alert', vms.name('fine'))).status, 0);
  const unknown = await status('--alert', vms.name('lost'));
  assert.deepEqual([unknown.status, unknown.stdout.split(':')[0]], [1, vms.name('lost')]);
  const { status: code, stdout } = await status('--log', 'prometheus', vms.name('fine'), name, vms.name('lost'));
  assert.equal(code, 0);
  const has = (line: string): void => assert.ok(stdout.includes(`\n${line}`), `${line}\nin:\n${stdout}`);
  const escaped = name.replaceAll('\\', '\\\\').replaceAll('"', '\\"');
  has(`qemu_trap_up{vm="${vms.name('fine')}"} 1\n`);
  has(`qemu_trap_up{vm="${escaped}"} 0\n`);
  has(`qemu_trap_stops_total{vm="${vms.name('fine')}",end="guest-shutdown"} 1\n`);
  has(`qemu_trap_stops_total{vm="${escaped}",end="quit"} 1\n`);
  has(`qemu_trap_last_cut_off{vm="${vms.name('fine')}"} 0\n`);
  has(`qemu_trap_last_cut_off{vm="${escaped}"} 1\n`);
  has(`qemu_trap_last_cut_off{vm="${vms.name('lost')}"} 1\n`);
  has(`qemu_trap_last_stop_seconds{vm="${escaped}"} 1.`);
  for (const line of stdout.trim().split('\n'))
    assert.match(line, /^(# (HELP|TYPE) qemu_trap_\w+ .+|qemu_trap_\w+\{(\w+="([^"\\\n]|\\.)*",?)+\} [\d.]+)$/);
  running.kill('SIGTERM');
  assert.equal(await running.status(), 0);
});

test('the text log in a file says when each line came; under a journal, and in a pipe, it does not', async (t) => {
  const lab = new Lab(t);
  const stamp = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z qemu-trap: /;
  for (const [where, isStamped] of [
    ['file', true],
    ['journal', false],
    ['pipe', false],
  ] as const) {
    const path = lab.file(`log-${where}`);
    const fd = openSync(path, 'w');
    const { dev, ino } = fstatSync(fd, { bigint: true });
    const trap = lab.start({
      log: 'text',
      // That of stdout, say, is not that of stderr.
      env: { JOURNAL_STREAM: where === 'journal' ? `${dev}:${ino}` : '8:1' },
      stdio: ['ignore', 'pipe', where === 'pipe' ? 'pipe' : fd],
    });
    closeSync(fd);
    const said = (): string => (where === 'pipe' ? trap.stderr : readFileSync(path, 'utf8'));
    await until('it runs', () => said().includes('the VM is running'));
    trap.kill('SIGQUIT');
    assert.equal(await trap.status(), 124);
    for (const line of said().trim().split('\n')) assert.equal(stamp.test(line), isStamped, `${where}: ${line}`);
  }
});
