import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { Lab, monitor, runState, until, type Trap } from '../support/lab.js';
import { assertPressedWhenHeard, observed, readPassed } from '../support/control-monitor.js';
import { Linux, needsLinux, says } from '../support/linux.js';
import { seeded } from '../support/seeded.js';

/*
 * The pair that the whole project exists for, on a real Linux that writes to its disk without pause.
 */

test(
  'negative control: SIGTERM to a bare QEMU leaves a file system to recover, and the next boot recovers it',
  needsLinux,
  async (t) => {
    const lab = new Lab(t);
    const linux = new Linux(lab);
    const [command, ...args] = linux.command();
    const bare = spawn(command as string, args, { stdio: 'ignore' });
    t.after(() => bare.kill('SIGKILL'));
    const exited = new Promise((resolve) => bare.on('exit', resolve));
    await linux.says('has been up');
    bare.kill('SIGTERM');
    assert.equal(await exited, 0);
    assert.equal(linux.needsRecovery(), true);
    assert.equal(linux.said(says.bye), 0);

    const next = lab.start({ command: linux.command() });
    await linux.says(says.up, 2);
    assert.equal(linux.said(says.recovered), 1);
    next.kill('SIGTERM');
    assert.equal(await next.status(), 0);
  },
);

test(
  'under qemu-trap the same guest leaves a clean disk with its last line on it, and the next boot finds it so',
  needsLinux,
  async (t) => {
    const lab = new Lab(t);
    const linux = new Linux(lab);
    for (const boot of [1, 2]) {
      const trap = lab.start({ command: linux.command() });
      await linux.says(says.up, boot);
      trap.kill('SIGTERM');
      assert.equal(await trap.status(), 0);
      assert.equal(trap.verdict['verdict'], 'clean');
      assert.equal(linux.said(says.bye), boot);
      linux.assertClean();
    }
    assert.equal(linux.said(says.clean), 2);
    assert.equal(linux.said(says.recovered), 0);
    await lab.assertNothingLeft();
  },
);

test(
  'twenty stops at random moments of its life, firmware and kernel boot included: every one clean',
  needsLinux,
  async (t) => {
    const seed = Number(process.env['QEMU_TRAP_TEST_SEED'] ?? 20) || 20;
    t.diagnostic(`seed ${seed} (QEMU_TRAP_TEST_SEED)`);
    const random = seeded(seed);
    const lab = new Lab(t);
    const linux = new Linux(lab);
    const moments = new Set<string>();
    let upAfterMs = 0;
    for (let stop = 1; stop <= 20; stop++) {
      const before = linux.log.length;
      const isUp = (): boolean => linux.log.slice(before).includes(says.up);
      const passed = lab.file(`passed-${stop}`);
      const trap: Trap = lab.start({ command: observed(passed, linux.command()), env: { WHOLE: '1' } });
      await trap.event('start');
      const startedAt = performance.now();
      if (stop === 1) {
        // How long a life is here. The second one ends at its beginning, the others at any moment.
        await until('it is up', isUp);
        upAfterMs = performance.now() - startedAt;
      } else if (stop > 2) {
        await new Promise((resolve) => setTimeout(resolve, random() * 1.6 * upAfterMs));
      }
      moments.add(isUp() ? 'up' : linux.log.length > before ? 'init' : 'firmware or kernel');
      trap.kill('SIGTERM');
      assert.equal(await trap.status(), 0, `stop ${stop}`);
      assert.equal(trap.verdict['verdict'], 'clean', `stop ${stop}`);
      assert.equal(linux.said(says.bye), stop, `stop ${stop}`);
      linux.assertClean();
      const { presses } = assertPressedWhenHeard(readPassed(passed));
      if (presses > 0) moments.add('deaf');
    }
    assert.equal(linux.said(says.recovered), 0);
    t.diagnostic(`met the guest in: ${[...moments].join(', ')}`);
    assert.ok(moments.has('up') && moments.has('firmware or kernel') && moments.has('deaf'));
  },
);

for (const machine of ['q35', 'microvm'] as const) {
  test(`machine type ${machine}: a clean shutdown, a clean reboot`, needsLinux, async (t) => {
    const lab = new Lab(t);
    const linux = new Linux(lab);
    const trap = lab.start({ command: linux.command({ machine }), options: ['--signal', 'USR1,script=reboot'] });
    await linux.says(says.up);
    trap.kill('SIGUSR1');
    await linux.says(says.up, 2);
    assert.equal((await trap.event('hook-end'))['outcome'], 'done');
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
    assert.equal(linux.said(says.bye), 2);
    assert.equal(linux.said(says.clean), 2);
    linux.assertClean();
  });
}

test(
  'a guest whose disk is full is let go on once a second and no more, and the last line says what it stood for',
  needsLinux,
  async (t) => {
    const lab = new Lab(t);
    const linux = new Linux(lab);
    const trap = lab.start({ command: linux.command({ full: 'always' }), options: ['--timeout', '6'] });
    await trap.event('ready');
    const { client, socket } = await monitor(lab);
    await until('it stands still', async () => (await runState(client)) === 'io-error');
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 124, trap.stderr);
    socket.destroy();
    const tries = trap.events('command').filter(({ command }) => command === 'cont');
    assert.ok(tries.length < 3, `${tries.length} lines`);
    assert.match(String(trap.verdict['message']), /it stood still, because QEMU could not read or write its disk/);
  },
);
