import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { shellQuote } from '../../src/system/permissions.js';
import { guestSays } from '../../src/commands/try/guest.js';
import { isAlive, Lab, program, read, until } from '../support/lab.js';
import { atTerminal, stdioGuest } from '../support/terminal.js';

const shielded = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;

test('signals sent to QEMU itself change nothing', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest();
  const { qemuPid } = trap;
  for (const signal of shielded) process.kill(qemuPid, signal);
  await until('all three are pending', () => {
    const pending = /^ShdPnd:\s*(\w+)$/m.exec(read(`/proc/${qemuPid}/status`))?.[1];
    return pending !== undefined && (Number.parseInt(pending, 16) & 0x4003) === 0x4003;
  });
  assert.ok(isAlive(qemuPid));
  assert.equal(trap.events('shutdown').length, 0);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(lab.said('bye'), 1);
});

test('negative control: without the shield, SIGTERM to QEMU cuts the guest off, and the last line says so', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest({ options: ['--no-shield'] });
  process.kill(trap.qemuPid, 'SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(lab.said('pressed'), 0);
  assert.equal(trap.verdict['verdict'], 'host-signal');
});

for (const signal of [...shielded, 'SIGPWR'] as const) {
  test(`${signal} to the whole process group: only qemu-trap reacts`, async (t) => {
    const lab = new Lab(t);
    // `detached` makes qemu-trap the leader of a group of its own, which the test may signal.
    const trap = await lab.startGuest({ detached: true });
    process.kill(-trap.pid, signal);
    assert.equal(await trap.status(), 0);
    assert.equal(lab.said('bye'), 1);
    assert.equal(trap.verdict['verdict'], 'clean');
    await lab.assertNothingLeft();
  });
}

test('SIGUSR2 to the whole process group: its hook runs, and QEMU does not notice', async (t) => {
  const lab = new Lab(t);
  lab.hook('SIGUSR2', '#!/bin/sh\n');
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks] });
  process.kill(-trap.pid, 'SIGUSR2');
  await trap.event('hook-end');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(lab.said('bye'), 1);
});

test('where env(1) has no --block-signal, QEMU gets a session of its own, and a line says that the shield is partial', async (t) => {
  const lab = new Lab(t);
  const bin = lab.file('bin');
  mkdirSync(bin);
  writeFileSync(`${bin}/env`, '#!/bin/sh\nexec /usr/bin/env "$@"\n', { mode: 0o755 });
  const trap = await lab.startGuest({ env: { PATH: `${bin}:${process.env['PATH']}` }, detached: true });
  assert.equal(trap.events('partial-shield').length, 1);
  process.kill(-trap.pid, 'SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(lab.said('bye'), 1);
});

test('Ctrl-C at a terminal with -serial stdio: the guest still talks there, and is shut down', async (t) => {
  const lab = new Lab(t);
  const terminal = atTerminal(t, lab, stdioGuest(lab));
  await until('the guest is up, on the terminal', () => terminal.seen.text.includes(guestSays.up));
  terminal.type('\x03');
  assert.equal(await terminal.exited, 0);
  assert.ok(terminal.seen.text.includes(guestSays.bye));
  assert.match(terminal.log(), /"event":"again-to-force"/);
});

test('a second Ctrl-C after a second cuts the wait; one sooner does not', async (t) => {
  const lab = new Lab(t);
  const terminal = atTerminal(t, lab, stdioGuest(lab, 'stubborn'));
  await until('the guest is up, on the terminal', () => terminal.seen.text.includes(guestSays.up));
  terminal.type('\x03');
  await until('it waits', () => terminal.log().includes('again-to-force'));
  terminal.type('\x03');
  await until('the button was heard', () => terminal.seen.text.includes(guestSays.pressed));
  assert.doesNotMatch(terminal.log(), /default-action/);
  const first = performance.now();
  await until('a second has gone by', () => performance.now() - first > 1_100);
  terminal.type('\x03');
  assert.equal(await terminal.exited, 124);
  assert.match(terminal.log(), /"cause":"cut"/);
});

test('a second SIGINT is no Ctrl-C to what is not in the foreground of its terminal', async (t) => {
  const lab = new Lab(t);
  const terminal = atTerminal(t, lab, lab.guest('stubborn'), {
    options: ['--timeout', '4'],
    shell: (command) => `setsid -w ${command}`,
  });
  await lab.guestSaid('up');
  const pid = Number.parseInt(read(`${lab.runDir}/lock`), 10);
  process.kill(pid, 'SIGINT');
  await lab.guestSaid('pressed');
  const first = performance.now();
  await until('a second has gone by', () => performance.now() - first > 1_100);
  process.kill(pid, 'SIGINT');
  assert.equal(await terminal.exited, 124);
  assert.match(terminal.log(), /"cause":"deadline"/);
  assert.doesNotMatch(terminal.log(), /again-to-force/);
});

test('Ctrl-\\ at a terminal ends QEMU at once', async (t) => {
  const lab = new Lab(t);
  const terminal = atTerminal(t, lab, stdioGuest(lab));
  await until('the guest is up, on the terminal', () => terminal.seen.text.includes(guestSays.up));
  terminal.type('\x1c');
  assert.equal(await terminal.exited, 124);
  assert.ok(!terminal.seen.text.includes(guestSays.pressed));
});

test('-nographic keeps its monitor on Ctrl-A c, and Ctrl-C goes to the guest', async (t) => {
  const lab = new Lab(t);
  const guest = lab
    .guest()
    .filter((word, i, all) => word !== '-display' && word !== 'none' && word !== '-serial' && all[i - 1] !== '-serial');
  const terminal = atTerminal(t, lab, [...guest.filter((word) => word !== '-net'), '-nographic', '-nic', 'none']);
  await until('the guest is up, on the terminal', () => terminal.seen.text.includes(guestSays.up));
  terminal.type('\x03');
  terminal.type('\x01cinfo status\r');
  await until('the monitor answers', () => terminal.seen.text.includes('VM status: running'));
  assert.doesNotMatch(terminal.log(), /SIGINT/);
  terminal.type('system_powerdown\r');
  assert.equal(await terminal.exited, 0);
});

test('a terminal that QEMU has changed is set back where QEMU had to be killed', async (t) => {
  const lab = new Lab(t);
  const modes = lab.file('modes');
  const words = [
    process.execPath,
    program,
    '--run-dir',
    lab.runDir,
    '--state-dir',
    lab.file('state'),
    '--timeout',
    '0.5',
    '--kill-after',
    '0.5',
    '--',
    ...stdioGuest(lab),
  ]
    .map(shellQuote)
    .join(' ');
  // Ctrl-C goes to the whole foreground group: a shell that did not trap it would end before its last stty.
  const child = spawn(
    'script',
    ['-qec', `trap : INT; stty -g >${modes}; ${words} 2>${lab.file('log')}; stty -g >>${modes}`, '/dev/null'],
    {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, QEMU_TRAP_HOOKS: '' },
    },
  );
  t.after(() => child.kill('SIGKILL'));
  let seen = '';
  child.stdout.on('data', (chunk) => (seen += chunk));
  await until('the guest is up', () => seen.includes(guestSays.up));
  const qemu = Number(/QEMU started \(pid (\d+)\)/.exec(read(lab.file('log')))?.[1]);
  await lab.hang(qemu);
  child.stdin.write('\x03');
  await new Promise((resolve) => child.on('exit', resolve));
  const [before, after] = read(modes).trim().split('\n');
  assert.equal(after, before);
  assert.ok(!isAlive(qemu));
});

test('qemu-trap found through a link runs its bundled hooks all the same', async (t) => {
  const lab = new Lab(t);
  symlinkSync(program, lab.file('qemu-trap'));
  const trap = await lab.startGuest({ program: lab.file('qemu-trap') });
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(trap.events('hook-start').length, 1);
});
