import assert from 'node:assert/strict';
import { copyFileSync, existsSync } from 'node:fs';
import { test, type TestContext } from 'node:test';
import { Lab, read, until } from '../support/lab.js';
import { Linux, needsLinux, says } from '../support/linux.js';

/*
 * The hooks that talk to the real QEMU guest agent in a real Linux.
 */

async function start(t: TestContext, words: readonly string[], options: readonly string[]) {
  const lab = new Lab(t);
  const linux = new Linux(lab);
  const trap = lab.start({ command: linux.command({ words }), options: ['--agent', linux.agent, ...options] });
  await linux.says(says.up);
  return { lab, linux, trap };
}

const byAgent = ['--signal', 'TERM,script=guest-shutdown'];

test('guest-shutdown: a guest that ignores its power button goes by its agent', needsLinux, async (t) => {
  const { lab, linux, trap } = await start(t, ['ignore'], byAgent);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(linux.said(says.asked), 1);
  assert.equal(trap.events('powerdown').length, 0);
  linux.assertClean();
  await lab.assertNothingLeft();
});

for (const [agent, words, reason] of [
  ['no agent in the guest', ['noagent'], /did not answer within 2 seconds/],
  ['an agent that hangs', ['hungagent'], /did not answer within 2 seconds/],
] as const) {
  test(`guest-shutdown: ${agent} costs two seconds, and the button is pressed`, needsLinux, async (t) => {
    const { linux, trap } = await start(t, words, byAgent);
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
    assert.equal(linux.said(says.asked), 0, read(linux.serial));
    assert.match((await trap.event('hook-output')).message, reason);
    assert.equal(trap.events('next-link')[0]?.['because'], 'hook-failed');
    assert.equal(linux.said(says.pressed), 1);
    linux.assertClean();
  });
}

test('guest-shutdown: with no agent named, or none at the socket, the button is pressed at once', async (t) => {
  for (const [options, reason] of [
    [[], /--agent SOCKET/],
    [['--agent', '/nonexistent/agent.sock'], /cannot connect to the guest agent's socket: ENOENT/],
  ] as const) {
    const lab = new Lab(t);
    const trap = await lab.startGuest({ options: [...byAgent, ...options] });
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
    assert.match((await trap.event('hook-output')).message, reason);
    assert.equal(lab.said('pressed'), 1);
  }
});

const freezing = ['--signal', 'USR2,script=thaw', '--signal'];

test(
  'freeze and thaw: in between, a copy of the disk has a clean file system, and the guest waits',
  needsLinux,
  async (t) => {
    const { lab, linux, trap } = await start(t, [], [...freezing, 'USR1,script=freeze']);
    trap.kill('SIGUSR1');
    assert.equal((await trap.event('hook-end'))['outcome'], 'done');
    assert.match((await trap.event('hook-output')).message, /froze 1 file systems/);
    copyFileSync(linux.disk, lab.file('snapshot'));
    assert.equal(linux.needsRecovery(), false);
    trap.kill('SIGUSR2');
    assert.equal((await trap.event('hook-end', 2))['outcome'], 'done');
    await until('the guest writes again', () => linux.needsRecovery());
    assert.equal(trap.events('thawed').length, 0);
    assert.ok(!existsSync(`${lab.runDir}/frozen`));
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
    linux.assertClean();
  },
);

test('a freeze that nobody ends is ended by qemu-trap at its timeout', needsLinux, async (t) => {
  const { linux, trap } = await start(t, [], [...freezing, 'USR1,script=freeze,timeout=4']);
  trap.kill('SIGUSR1');
  assert.equal((await trap.event('hook-end'))['outcome'], 'done');
  assert.equal(linux.needsRecovery(), false);
  assert.match((await trap.event('thawed')).message, /nothing thawed it in time; thawed it \(1 file systems\)/);
  await until('the guest writes again', () => linux.needsRecovery());
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  linux.assertClean();
});

test('a hook that froze the guest and is gone: qemu-trap thaws it at once', needsLinux, async (t) => {
  const { lab, linux, trap } = await start(t, [], ['--signal', 'USR1,script=./snapshot']);
  lab.hook('../snapshot', '#!/bin/sh\nqga guest-fsfreeze-freeze\nkill -KILL $$\n');
  trap.kill('SIGUSR1');
  assert.match((await trap.event('thawed')).message, /the hook that froze it failed/);
  await until('the guest writes again', () => linux.needsRecovery());
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  linux.assertClean();
});

test('SIGTERM to a frozen guest: it is thawed, and shuts itself down', needsLinux, async (t) => {
  const { linux, trap } = await start(t, [], [...freezing, 'USR1,script=freeze']);
  trap.kill('SIGUSR1');
  await trap.event('hook-end');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.match((await trap.event('thawed')).message, /a shutdown has begun/);
  linux.assertClean();
});

test('freeze: an agent that is not there fails the hook, and nothing is frozen', needsLinux, async (t) => {
  const { lab, linux, trap } = await start(t, ['noagent'], [...freezing, 'USR1,script=freeze']);
  trap.kill('SIGUSR1');
  await trap.event('failed');
  assert.ok(!existsSync(`${lab.runDir}/frozen`));
  assert.equal(linux.needsRecovery(), true);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
});

test(
  'a guest that was frozen when qemu-trap was killed is thawed by the one that takes it over',
  needsLinux,
  async (t) => {
    const lab = new Lab(t);
    const linux = new Linux(lab);
    const how = {
      command: linux.command({}),
      options: ['--on-death', 'keep', '--agent', linux.agent, '--signal', 'USR1,script=freeze'],
    };
    const first = lab.start(how);
    await linux.says(says.up);
    first.kill('SIGUSR1');
    await first.event('hook-end');
    assert.equal(linux.needsRecovery(), false);
    await first.die();
    const next = lab.start(how);
    assert.match(
      (await next.event('thawed')).message,
      /the qemu-trap whose hook froze it was killed; thawed it \(1 file systems\)/,
    );
    await until('the guest writes again', () => linux.needsRecovery());
    next.kill('SIGTERM');
    assert.equal(await next.status(), 0);
    linux.assertClean();
    await lab.assertNothingLeft();
  },
);
