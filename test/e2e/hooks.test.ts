import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { execute, Lab, monitor, runState, until, type StartOptions } from '../support/lab.js';
import { Linux, needsLinux, says } from '../support/linux.js';

/*
 * The bundled hooks that leave their guest running, each with a way to break it.
 */

const on = (hook: string, more = ''): string[] => ['--signal', `USR1,script=${hook}${more}`];

test('reboot: a real Linux shuts down cleanly and boots again, in the same QEMU', needsLinux, async (t) => {
  const lab = new Lab(t);
  const linux = new Linux(lab);
  const trap = lab.start({ command: linux.command(), options: on('reboot') });
  await linux.says(says.up);
  trap.kill('SIGUSR1');
  await linux.says(says.up, 2);
  assert.equal((await trap.event('hook-end'))['outcome'], 'done');
  assert.equal(linux.said(says.bye), 1);
  assert.equal(linux.said(says.clean), 2, 'the disk was clean at both boots');
  assert.equal(trap.events('exit').length, 0);
  // Its action is what it was: a guest that powers itself off takes QEMU with it.
  await execute(lab, 'system_powerdown');
  assert.equal(await trap.status(), 0);
  assert.equal(trap.verdict['action'], 'none');
  linux.assertClean();
});

test('reboot: a guest that has not gone by the deadline runs on, and when it goes, QEMU goes with it', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest({ temper: 'lingering', options: on('reboot', ',timeout=1') });
  trap.kill('SIGUSR1');
  await trap.event('failed');
  assert.equal(await trap.status(), 0);
  assert.equal(lab.said('up'), 1);
  assert.equal(lab.said('bye'), 1);
});

test('reboot: a guest that ignores the button runs on, and QEMU does at its next power-off what it did before', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest({ temper: 'stubborn', options: [...on('reboot', ',timeout=1'), '--press', '0.3'] });
  trap.kill('SIGUSR1');
  await trap.event('failed');
  assert.ok(lab.said('pressed') >= 2, 'it was pressed again');
  const { client, socket } = await monitor(lab);
  assert.equal(await runState(client), 'running');
  socket.destroy();
  trap.kill('SIGQUIT');
  assert.equal(await trap.status(), 124);
});

test('reboot: where QEMU was to stay after a power-off (-no-shutdown), it still is', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest({ qemu: ['-no-shutdown'], options: on('reboot') });
  trap.kill('SIGUSR1');
  await lab.guestSaid('up', 2);
  await trap.event('hook-end');
  const { client, socket } = await monitor(lab);
  await client.execute('system_powerdown');
  await lab.guestSaid('bye', 2);
  await until('QEMU stays', async () => (await runState(client)) === 'shutdown');
  socket.destroy();
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
});

test('reboot: a QEMU that ends where its guest would reboot (-no-reboot) is left as it is, with the reason', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest({ qemu: ['-no-reboot'], options: on('reboot') });
  trap.kill('SIGUSR1');
  await trap.event('failed');
  assert.match((await trap.event('hook-output')).message, /-no-reboot.*leave that option out/);
  assert.equal(lab.said('pressed'), 0);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
});

test('reboot: a paused guest is resumed to hear the button; once pressed means once', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest({ options: [...on('reboot'), '--press', 'once'] });
  await execute(lab, 'stop');
  trap.kill('SIGUSR1');
  await lab.guestSaid('up', 2);
  assert.equal((await trap.event('hook-end'))['outcome'], 'done');
  assert.equal(lab.said('pressed'), 1);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
});

test(
  'pause and resume: the clock of a real Linux stands still in between; a second pause does no harm',
  needsLinux,
  async (t) => {
    const lab = new Lab(t);
    const linux = new Linux(lab);
    const trap = lab.start({
      command: linux.command({ words: ['idle'] }),
      options: [...on('pause'), '--signal', 'USR2,script=resume'],
    });
    await linux.says('has been up', 2);
    trap.kill('SIGUSR1');
    await trap.event('hook-end');
    trap.kill('SIGUSR1');
    await trap.event('hook-end', 2);
    const { client, socket } = await monitor(lab);
    assert.equal(await runState(client), 'paused');
    const before = linux.said('has been up');
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    assert.ok(
      linux.said('has been up') <= before + 1,
      'it says nothing while it is paused, but for what was on its way',
    );
    trap.kill('SIGUSR2');
    await linux.says('has been up', before + 2);
    assert.equal(await runState(client), 'running');
    socket.destroy();
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
    assert.equal(linux.said(says.bye), 1);
  },
);

test('dump: the NMI reaches a real Linux, which panics as it was told to', needsLinux, async (t) => {
  const lab = new Lab(t);
  const linux = new Linux(lab);
  const trap = lab.start({ command: linux.command(), options: on('dump') });
  await linux.says(says.up);
  trap.kill('SIGUSR1');
  await linux.says('Kernel panic - not syncing: NMI');
  assert.equal((await trap.event('hook-end'))['outcome'], 'done');
  trap.kill('SIGQUIT');
  assert.equal(await trap.status(), 124);
});

test('dump: a machine that has no NMI says so, the hook fails, and the guest runs on', async (t) => {
  const lab = new Lab(t);
  const trap = lab.start({ command: ['qemu-system-x86_64', '-M', 'none', '-display', 'none'], options: on('dump') });
  await trap.ready();
  trap.kill('SIGUSR1');
  await trap.event('failed');
  assert.match((await trap.event('hook-output')).message, /inject-nmi: /);
  trap.kill('SIGQUIT');
  assert.equal(await trap.status(), 124);
});

test('reset: a real Linux boots again, and finds what a power failure leaves', needsLinux, async (t) => {
  const lab = new Lab(t);
  const linux = new Linux(lab);
  const trap = lab.start({ command: linux.command(), options: on('reset') });
  await linux.says('has been up');
  trap.kill('SIGUSR1');
  await linux.says(says.up, 2);
  assert.equal(linux.said(says.recovered), 1);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  linux.assertClean();
});

test(
  'powerdown: a real Linux that ignores its button is cut off at the deadline, and the last line says so',
  needsLinux,
  async (t) => {
    const lab = new Lab(t);
    const linux = new Linux(lab);
    const trap = lab.start({
      command: linux.command({ words: ['ignore'] }),
      options: ['--timeout', '3', '--press', '0.5'],
    });
    await linux.says('has been up');
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 124);
    assert.ok(trap.events('powerdown').length >= 3);
    assert.equal(trap.verdict['verdict'], 'forced');
    assert.equal(linux.needsRecovery(), true);
  },
);

/** qemu-trap as it is installed, with every script for another shell. */
function withShell(lab: Lab, shell: string): string {
  const package_ = lab.file('package');
  mkdirSync(package_);
  cpSync('hooks', `${package_}/hooks`, { recursive: true });
  cpSync('dist', `${package_}/dist`, { recursive: true });
  const scripts = readdirSync('hooks')
    .filter((name) => name !== 'lib')
    .concat(readdirSync('hooks/lib').map((name) => `lib/${name}`));
  for (const name of scripts) {
    const text = readFileSync(`hooks/${name}`, 'utf8');
    assert.match(text, /^#!\/bin\/sh\n/, `${name} is POSIX sh`);
    writeFileSync(`${package_}/hooks/${name}`, text.replace(/^#!.*/, shell), { mode: 0o755 });
  }
  return `${package_}/dist/qemu-trap.cjs`;
}

/** A folder for PATH with BusyBox's own of the commands that the bundled hooks call. */
function busyboxCommands(lab: Lab): string {
  const bin = lab.file('bin');
  mkdirSync(bin);
  for (const name of ['timeout', 'sleep', 'tr', 'mv', 'rm', 'mkdir', 'sync', 'cat', 'dirname'])
    symlinkSync('/bin/busybox', `${bin}/${name}`);
  return bin;
}

const shells = {
  dash: '#!/usr/bin/env dash',
  bash: '#!/bin/bash',
  'busybox sh, with its own commands': '#!/bin/busybox sh',
} as const;

for (const [shell, firstLine] of Object.entries(shells)) {
  test(`the bundled hooks under ${shell}: pause, resume, reset, reboot, powerdown`, async (t) => {
    const lab = new Lab(t);
    const env = shell.startsWith('busybox') ? { PATH: `${busyboxCommands(lab)}:${process.env['PATH']}` } : {};
    const rules = ['USR1,script=pause', 'USR2,script=resume', 'HUP,script=reset', 'ALRM,script=reboot'].flatMap(
      (rule) => ['--signal', rule],
    );
    const trap = await lab.startGuest({
      program: withShell(lab, firstLine),
      env,
      options: [...rules, '--press', '0.5,10'],
    });
    const { client, socket } = await monitor(lab);
    trap.kill('SIGUSR1');
    await until('it is paused', async () => (await runState(client)) === 'paused');
    trap.kill('SIGUSR2');
    await until('it runs', async () => (await runState(client)) === 'running');
    socket.destroy();
    trap.kill('SIGHUP');
    await lab.guestSaid('up', 2);
    trap.kill('SIGALRM');
    await lab.guestSaid('up', 3);
    await until(
      'all four have ended well',
      () => trap.events('hook-end').filter(({ outcome }) => outcome === 'done').length === 4,
    );
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
    assert.equal(lab.said('bye'), 2);
    assert.equal(trap.events('next-link').length, 0);
  });

  test(`the bundled hooks under ${shell}: dump, freeze, thaw, save, guest-shutdown`, needsLinux, async (t) => {
    const lab = new Lab(t);
    const linux = new Linux(lab);
    const env = shell.startsWith('busybox') ? { PATH: `${busyboxCommands(lab)}:${process.env['PATH']}` } : {};
    const rules = [
      'USR1,script=freeze',
      'USR2,script=thaw',
      'ALRM,script=dump',
      'INT,script=save',
      'TERM,script=guest-shutdown',
    ].flatMap((rule) => ['--signal', rule]);
    const start: StartOptions = {
      program: withShell(lab, firstLine),
      env,
      options: [...rules, '--agent', linux.agent, '--state-dir', lab.file('state')],
      command: linux.command({ words: ['ignore', 'calm'] }),
    };
    const saving = lab.start(start);
    await linux.says(says.up);
    for (const [i, signal] of (['SIGUSR1', 'SIGUSR2', 'SIGALRM'] as const).entries()) {
      saving.kill(signal);
      assert.equal((await saving.event('hook-end', i + 1))['outcome'], 'done');
    }
    saving.kill('SIGINT');
    assert.equal(await saving.status(), 0);
    assert.ok(saving.verdict['saved'], saving.stderr);
    const resumed = lab.start(start);
    await resumed.event('resumed');
    resumed.kill('SIGTERM');
    assert.equal(await resumed.status(), 0);
    assert.equal(resumed.events('powerdown').length, 0);
    assert.equal(linux.said(says.up), 1);
    assert.equal(linux.said(says.asked), 1);
    linux.assertClean();
  });
}
