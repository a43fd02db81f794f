import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { isAlive, Lab, program, read, Trap, until } from '../support/lab.js';

for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGPWR'] as const) {
  test(`${signal} with no options at all: the guest sees its power button, status 0, nothing is left`, async (t) => {
    const lab = new Lab(t);
    const trap = await lab.startGuest();
    trap.kill(signal);
    assert.equal(await trap.status(), 0);
    assert.equal(lab.said('pressed'), 1);
    assert.equal(lab.said('bye'), 1);
    assert.equal(trap.verdict['verdict'], 'clean');
    assert.equal(trap.verdict['signal'], signal);
    await lab.assertNothingLeft();
  });
}

test('negative control: SIGTERM to a bare QEMU, and the guest never hears of it', async (t) => {
  const lab = new Lab(t);
  const [command, ...args] = lab.guest();
  const qemu = spawn(command as string, args, { stdio: 'ignore' });
  t.after(() => qemu.kill('SIGKILL'));
  const exited = new Promise((resolve) => qemu.on('exit', resolve));
  await lab.guestSaid('up');
  qemu.kill('SIGTERM');
  assert.equal(await exited, 0);
  assert.equal(lab.said('pressed'), 0);
});

test('the default run directory is one of its own, 0700, and gone at the end', async (t) => {
  const lab = new Lab(t);
  const runtime = process.getuid?.() === 0 ? '/run' : lab.file('runtime');
  const name = `test-${process.pid}`;
  const trap = await lab.startGuest({
    qemu: ['-name', `guest=${name},debug-threads=on`],
    options: ['--run-dir', join(runtime, 'qemu-trap', name)],
  });
  assert.equal(statSync(join(runtime, 'qemu-trap', name)).mode & 0o777, 0o700);
  assert.equal(trap.log[0]?.['vm'], name);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.ok(!existsSync(join(runtime, 'qemu-trap', name)));
});

test('a guest that drops the first press is pressed again', async (t) => {
  const lab = new Lab(t);
  const trap = lab.start({ temper: 'slow', options: ['--press', '0.5'] });
  await trap.ready();
  trap.kill('SIGTERM');
  await trap.event('powerdown');
  assert.equal(lab.said('up'), 0, 'the press came before the guest could hear');
  assert.equal(await trap.status(), 0);
  assert.equal(lab.said('bye'), 1);
  assert.ok(trap.events('powerdown').length > 1);
});

test('negative control: pressed once only, the same guest is cut off at the deadline', async (t) => {
  const lab = new Lab(t);
  const trap = lab.start({ temper: 'slow', options: ['--press', 'once', '--timeout', '6'] });
  await trap.ready();
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 124);
  assert.equal(lab.said('up'), 1);
  assert.equal(lab.said('pressed'), 0);
});

test('a guest that ignores the button: quit at the deadline, 124', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest({ temper: 'stubborn', options: ['--timeout', '2'] });
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 124);
  assert.ok(lab.said('pressed') >= 1);
  assert.equal(trap.verdict['verdict'], 'forced');
  assert.equal(trap.verdict['reason'], 'host-qmp-quit');
  await lab.assertNothingLeft();
});

test('a QEMU that a debugger holds is left alone until its time is up: SIGKILL, 137', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest({ options: ['--timeout', '1', '--kill-after', '0.5'] });
  await lab.hang(trap.qemuPid);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 137);
  assert.equal(trap.verdict['verdict'], 'killed');
  assert.equal(trap.events('woken').length, 0);
  await lab.assertNothingLeft();
});

for (const [what, signal, options, status, bye] of [
  ['hears its button (the bundled hook)', 'SIGTERM', [], 0, 1],
  ['hears its button (in process)', 'SIGTERM', ['--signal', 'TERM,monitorcommand=system_powerdown'], 0, 1],
  ['is told to quit in good order', 'SIGQUIT', ['--kill-after', '20'], 124, 0],
] as const) {
  test(`a QEMU stopped with SIGSTOP is woken, and ${what}`, async (t) => {
    const lab = new Lab(t);
    const trap = await lab.startGuest({ options });
    process.kill(trap.qemuPid, 'SIGSTOP');
    trap.kill(signal);
    assert.equal(await trap.status(), status, trap.stderr);
    assert.equal(lab.said('bye'), bye);
    assert.ok(trap.events('woken').length >= 1);
    assert.equal(trap.events('default-action').filter(({ message }) => message.includes('SIGKILL')).length, 0);
    await lab.assertNothingLeft();
  });
}

test('a QEMU that is stopped again after its press is woken for the next one', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest({
    temper: 'stubborn',
    options: ['--press', '0.5', '--timeout', '6', '--kill-after', '20'],
  });
  trap.kill('SIGTERM');
  await trap.event('powerdown');
  process.kill(trap.qemuPid, 'SIGSTOP');
  await trap.event('woken');
  const presses = trap.events('powerdown').length;
  await trap.event('powerdown', presses + 1);
  assert.equal(await trap.status(), 124, trap.stderr);
  await lab.assertNothingLeft();
});

test('default=kill: SIGKILL at the deadline, 137, without a quit before it', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest({ temper: 'stubborn', options: ['--signal', 'TERM,timeout=1,default=kill'] });
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 137);
  assert.equal(trap.verdict['reason'], null);
});

test('a signal before the monitors are up: acted on when they are, its deadline counted from the signal', async (t) => {
  const lab = new Lab(t);
  const slowStart = lab.file('qemu-slow');
  writeFileSync(slowStart, '#!/bin/sh\nsleep 1\nexec qemu-system-x86_64 "$@"\n');
  chmodSync(slowStart, 0o755);
  const [, ...guest] = lab.guest();
  const trap = lab.start({ command: [slowStart, ...guest], options: ['--press', '0.3', '--timeout', '30'] });
  await trap.event('start');
  trap.kill('SIGTERM');
  const waits = await trap.event('shutdown');
  assert.match(waits.message, /waiting for QEMU to start/);
  assert.equal(await trap.status(), 0);
  assert.equal(lab.said('bye'), 1);
  const order = trap.log.map(({ event }) => event);
  assert.ok(order.indexOf('shutdown') < order.indexOf('hook-start'));
});

test('the deadline passes while QEMU still starts: SIGKILL after --kill-after, 137', async (t) => {
  const lab = new Lab(t);
  const never = lab.file('qemu-never');
  writeFileSync(never, '#!/bin/sh\nexec sleep 600\n');
  chmodSync(never, 0o755);
  const trap = lab.start({ command: [never], options: ['--timeout', '0.3', '--kill-after', '0.3'] });
  await trap.event('start');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 137);
  await lab.assertNothingLeft();
});

test('a SIGTERM as soon as its trap is set is not lost', async (t) => {
  const lab = new Lab(t);
  const trap = lab.start({ options: ['--press', '0.3'] });
  // The last trap to be set, and one that Node has no handler of its own for.
  const mask = 1n << BigInt(constants.signals.SIGSYS - 1);
  await until('every trap is set', () => {
    const caught = /^SigCgt:\s*(\w+)$/m.exec(read(`/proc/${trap.pid}/status`))?.[1];
    return caught !== undefined && (BigInt(`0x${caught}`) & mask) !== 0n;
  });
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(lab.said('bye'), 1);
  await lab.assertNothingLeft();
});

test('monitorcommand=system_powerdown: in process, nothing spawned, pressed again', async (t) => {
  const lab = new Lab(t);
  const trap = lab.start({
    temper: 'slow',
    options: ['-signal', 'SIGTERM,monitorcommand=system_powerdown', '--press', '0.5'],
  });
  await trap.ready();
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(trap.events('hook-start').length, 0);
  assert.ok(trap.events('command').length > 1);
});

/** The proposal has its option among those of QEMU; ours may stand before them. */
const places = ['options', 'qemu'] as const;
const where = { options: "qemu-trap's", qemu: "QEMU's" } as const;

for (const place of places) {
  test(`the proposal's first line, among ${where[place]} options: SIGTERM powers down, SIGHUP resets, and the guest runs on after a reset`, async (t) => {
    const lab = new Lab(t);
    const trap = await lab.startGuest({
      [place]: ['-signal', 'SIGTERM,monitorcommand=system_powerdown', '-signal', 'SIGHUP,monitorcommand=system_reset'],
    });
    trap.kill('SIGHUP');
    await lab.guestSaid('up', 2);
    trap.kill('SIGHUP');
    await lab.guestSaid('up', 3);
    assert.equal(lab.said('pressed'), 0);
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
    assert.equal(lab.said('bye'), 1);
  });
}

for (const place of places)
  test(`the proposal's second line, among ${where[place]} options: a script by its relative path`, async (t) => {
    const lab = new Lab(t);
    mkdirSync(lab.file('signals'), { mode: 0o755 });
    writeFileSync(lab.file('signals/sigterm'), '#!/bin/sh\necho "ran $0 $1" >&2\nqmp system_powerdown\n', {
      mode: 0o755,
    });
    const trap = await lab.startGuest({ [place]: ['-signal', 'SIGTERM,script=signals/sigterm'] });
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
    assert.equal(trap.events('hook-output')[0]?.message, `ran ${lab.file('signals/sigterm')} SIGTERM`);
  });

test('QEMU keeps its own messages and statuses, and nothing is left behind', async (t) => {
  const lab = new Lab(t);
  const trap = lab.start({ command: ['qemu-system-x86_64', '-no-such-option'] });
  assert.equal(await trap.status(), 1);
  assert.match(trap.stderr, /-no-such-option: invalid option/);
  assert.equal(trap.verdict['verdict'], 'failed-to-start');
  await lab.assertNothingLeft();
});

test('QEMU ended by SIGKILL from elsewhere: 128+9', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest();
  process.kill(trap.qemuPid, 'SIGSEGV');
  assert.equal(await trap.status(), 128 + 11);
  assert.equal(trap.verdict['verdict'], 'by-itself');
  await lab.assertNothingLeft();
});

test('a guest that powers off by itself: status 0', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest({ options: ['--signal', 'USR1,monitorcommand=system_powerdown'] });
  trap.kill('SIGUSR1');
  assert.equal(await trap.status(), 0);
  assert.equal(trap.verdict['signal'], null);
});

test('qemu-trap killed with SIGKILL: QEMU goes with it, and the next start finds the directory free', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest();
  const { qemuPid } = trap;
  await trap.die();
  await until('QEMU is dead', () => !isAlive(qemuPid));
  const next = await lab.startGuest();
  next.kill('SIGTERM');
  assert.equal(await next.status(), 0);
  await lab.assertNothingLeft();
});

test('two qemu-traps never serve one run directory', async (t) => {
  const lab = new Lab(t);
  const first = await lab.startGuest();
  const second = lab.start({ log: 'text' });
  assert.equal(await second.status(), 125);
  assert.match(
    second.stderr,
    new RegExp(`^qemu-trap: .* another qemu-trap \\(pid ${first.pid}\\) is serving it already: .*\n$`),
  );
  first.kill('SIGTERM');
  assert.equal(await first.status(), 0);
});

test('SIGPROF is logged and ignored, like every signal that nobody asked anything of', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest();
  trap.kill('SIGPROF');
  await trap.event('ignored');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(lab.said('bye'), 1);
});

test('the program of the container: QEMU_OPTIONS may have quotes, as in sh', async (t) => {
  const lab = new Lab(t);
  symlinkSync(program, lab.file('qemu-trap'));
  const [, ...words] = lab.guest();
  const env = {
    PATH: `${lab.dir}:${process.env['PATH']}`,
    VM: 'a web',
    QEMU_OPTIONS: `${words.join(' ')} -smbios 'type=1,product=a b'`,
    QEMU_TRAP_OPTIONS: `--log json --run-dir ${lab.runDir} --state-dir ${lab.file('state')}`,
  };
  const trap = new Trap(lab, lab.spawn([resolve('examples/container/vm')], { env, detached: true }));
  await trap.ready();
  await lab.guestSaid('up');
  assert.ok(read(`/proc/${trap.qemuPid}/cmdline`).split('\0').includes('type=1,product=a b'));
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
  assert.equal(trap.verdict['vm'], 'a web');
});
