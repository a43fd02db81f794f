import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, renameSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { execute, isAlive, Lab, monitor, read, until, type Trap } from '../support/lab.js';

const keep = ['--on-death', 'keep'];

/** A guest left behind by a qemu-trap that was killed, and the qemu-trap that took it over. */
async function heir(lab: Lab, first: Trap, options: readonly string[] = keep): Promise<Trap> {
  const { qemuPid } = first;
  await first.die();
  const next = lab.start({ options });
  await next.ready();
  assert.equal(next.events('takeover')[0]?.['pid'], qemuPid);
  assert.equal(next.events('start').length, 0, 'no second QEMU');
  return next;
}

test('--on-death keep: the guest runs on, the next qemu-trap takes it over, and shuts it down', async (t) => {
  const lab = new Lab(t);
  const first = await lab.startGuest({ options: keep });
  const { qemuPid } = first;
  const next = await heir(lab, first);
  assert.ok(isAlive(qemuPid));
  assert.equal(lab.said('up'), 1, 'the same guest');
  assert.equal(next.events('takeover')[0]?.['guest'], 'running');
  assert.equal(next.events('takeover')[0]?.['other_command'], false);
  next.kill('SIGTERM');
  assert.equal(await next.status(), 0);
  assert.equal(next.verdict['verdict'], 'clean');
  assert.equal(lab.said('bye'), 1);
  await lab.assertNothingLeft();
});

test('negative control: with --on-death kill nothing is taken over', async (t) => {
  const lab = new Lab(t);
  const first = await lab.startGuest();
  await first.die();
  const next = await lab.startGuest();
  assert.equal(next.events('takeover').length, 0);
  assert.equal(next.events('start').length, 1);
  next.kill('SIGTERM');
  assert.equal(await next.status(), 0);
});

test('taken over five times in a row: hooks, signals without one before, and the spare monitors', async (t) => {
  const lab = new Lab(t);
  lab.hook('SIGUSR1', `#!/bin/sh\nqmp query-status >>${lab.file('asked')}\n`);
  const options = [...keep, '--hooks', lab.hooks];
  let trap = await lab.startGuest({ options });
  for (let times = 1; times <= 5; times++) {
    trap = await heir(lab, trap, options);
    trap.kill('SIGUSR1');
    await trap.event('hook-end');
    assert.equal(read(lab.file('asked')).trim().split('\n').length, times);
  }
  lab.hook('SIGHUP', `#!/bin/sh\nqmp query-name && echo new >>${lab.file('asked')}\n`);
  trap.kill('SIGUSR2');
  await trap.event('ignored');
  writeFileSync(lab.file('hooks/SIGUSR2'), `#!/bin/sh\nqmp query-name && echo new >>${lab.file('asked')}\n`, {
    mode: 0o755,
  });
  trap.kill('SIGUSR2');
  await trap.event('hook-end', 2);
  assert.match(read(lab.file('asked')), /new/);
  await execute(lab, 'query-status');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  await lab.assertNothingLeft();
});

test('a QEMU that was taken over: its deadline is 124, SIGKILL 137, its own word 0, a crash 125', async (t) => {
  for (const [temper, options, act, status, verdict] of [
    ['stubborn', ['--timeout', '0.5'], (trap: Trap) => trap.kill('SIGTERM'), 124, 'forced'],
    [
      'obedient',
      ['--timeout', '0.5', '--kill-after', '0.5'],
      async (trap: Trap, pid: number) => (await trap.lab.hang(pid), trap.kill('SIGTERM')),
      137,
      'killed',
    ],
    ['obedient', [], (trap: Trap) => void execute(trap.lab, 'quit').catch(() => undefined), 0, 'by-itself'],
    ['obedient', [], (_: Trap, pid: number) => process.kill(pid, 'SIGSEGV'), 125, 'unknown'],
    ['obedient', [], (_: Trap, pid: number) => process.kill(pid, 'SIGKILL'), 125, 'unknown'],
  ] as const) {
    const lab = new Lab(t);
    const first = await lab.startGuest({ options: [...keep, ...options], temper });
    const trap = await heir(lab, first, [...keep, ...options]);
    await act(trap, first.qemuPid);
    assert.equal(await trap.status(), status, `${verdict}:\n${trap.stderr}`);
    assert.equal(trap.verdict['verdict'], verdict);
    await lab.assertNothingLeft();
  }
});

test('a second start beside a living qemu-trap takes nothing over', async (t) => {
  const lab = new Lab(t);
  const first = await lab.startGuest({ options: keep });
  const second = lab.start({ options: keep, log: 'text' });
  assert.equal(await second.status(), 125);
  assert.match(second.stderr, /another qemu-trap( \(pid \d+\))? is serving it already/);
  const next = await heir(lab, first);
  next.kill('SIGTERM');
  assert.equal(await next.status(), 0);
});

test('a guest left by keep is taken over whatever the next one says, and another command line is told of', async (t) => {
  const lab = new Lab(t);
  const first = await lab.startGuest({ options: keep });
  await first.die();
  const next = lab.start({ qemu: ['-boot', 'c'] });
  await next.ready();
  assert.equal(next.events('takeover')[0]?.['other_command'], true);
  assert.match(next.events('takeover')[0]?.message ?? '', /its command line differs from the one given now/);
  next.kill('SIGTERM');
  assert.equal(await next.status(), 0);
  assert.equal(lab.said('up'), 1);
});

test('what the killed one had half done is ended: its hook goes, and a signal runs a new one', async (t) => {
  const lab = new Lab(t);
  lab.hook('SIGUSR1', `#!/bin/sh\necho $$ >${lab.file('pid')}\nsleep 600\n`);
  const options = [...keep, '--hooks', lab.hooks];
  const first = await lab.startGuest({ options });
  first.kill('SIGUSR1');
  const hook = await until('the hook runs', () => Number(read(lab.file('pid'))) || null);
  const next = await heir(lab, first, options);
  await until('the hook of the killed one is gone', () => !isAlive(hook));
  lab.hook('SIGUSR1', `#!/bin/sh\nqmp query-status\n`);
  next.kill('SIGUSR1');
  await next.event('hook-end');
  next.kill('SIGTERM');
  assert.equal(await next.status(), 0);
  await lab.assertNothingLeft();
});

test('a paused guest that was taken over is made to hear its button', async (t) => {
  const lab = new Lab(t);
  const first = await lab.startGuest({ options: keep });
  const { client, socket } = await monitor(lab);
  await client.execute('stop');
  socket.destroy();
  await first.die();
  const next = lab.start({ options: keep });
  assert.equal((await next.event('takeover'))['guest'], 'paused');
  next.kill('SIGTERM');
  assert.equal(await next.status(), 0);
  assert.equal(lab.said('bye'), 1);
});

test('killed while QEMU starts, at every moment: the next start never runs a second QEMU beside the first', async (t) => {
  for (let moment = 0; moment < 12; moment++) {
    const lab = new Lab(t);
    const first = lab.start({ options: keep });
    const until0 = performance.now() + moment * 20;
    await until('the moment has come', () => performance.now() >= until0);
    await first.die();
    const next = lab.start({ options: keep });
    await next.ready();
    await lab.guestSaid('up');
    const qemus = lab.left().filter((pid) => read(`/proc/${pid}/cmdline`).startsWith('qemu-system'));
    assert.equal(qemus.length, 1, `moment ${moment}:\n${first.stderr}\n${next.stderr}`);
    next.kill('SIGTERM');
    assert.equal(await next.status(), 0);
    await lab.assertNothingLeft();
  }
});

test('a QEMU left behind that does not answer is not abandoned, and not started twice: one line, 125', async (t) => {
  const lab = new Lab(t);
  const first = await lab.startGuest({ options: keep });
  const { qemuPid } = first;
  // Somebody else sits on the monitor that is for the heir.
  const { client, socket } = await monitor(lab, 'control.sock');
  await client.execute('query-status');
  await first.die();
  const next = lab.start({ options: keep, log: 'text' });
  assert.equal(await next.status(), 125);
  assert.match(next.stderr, /^qemu-trap: cannot take over the QEMU left running in \S+: [^\n]*no greeting[^\n]*\n$/);
  assert.ok(isAlive(qemuPid));
  socket.destroy();
  const third = lab.start({ options: keep });
  await third.ready();
  third.kill('SIGTERM');
  assert.equal(await third.status(), 0);
  await lab.assertNothingLeft();
});

const notRoot = process.geteuid?.() === 0 ? false : 'only root can become another user';

test('--on-death keep without a directory that the next start would find is refused', { skip: notRoot }, (t) => {
  const lab = new Lab(t);
  const copy = lab.ownCopy();
  chmodSync(lab.dir, 0o755);
  const { status, stderr } = spawnSync(
    'setpriv',
    ['--reuid', '65534', '--regid', '65534', '--clear-groups', process.execPath, copy, ...keep, '--', 'true'],
    {
      encoding: 'utf8',
      timeout: 20_000,
      env: { PATH: process.env['PATH'] },
    },
  );
  assert.equal(status, 125);
  assert.match(
    stderr,
    /^qemu-trap: --on-death keep: the next start would not find the guest, [^\n]*: name one with --run-dir\n$/,
  );
});

test('qemu.pid has one number; what version 0.1.0 left there is taken over as well', async (t) => {
  const lab = new Lab(t);
  const first = await lab.startGuest({ options: keep });
  assert.equal(read(`${lab.runDir}/qemu.pid`), `${first.qemuPid}\n`);
  // As version 0.1.0 had it.
  renameSync(`${lab.runDir}/qemu.id`, `${lab.runDir}/qemu.pid`);
  const trap = await heir(lab, first, keep);
  assert.equal(trap.qemuPid, first.qemuPid);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  await lab.assertNothingLeft();
});

test('pgrep finds qemu-trap by its name, and its command line is whole', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest();
  assert.ok(execFileSync('pgrep', ['-x', 'qemu-trap'], { encoding: 'utf8' }).split('\n').includes(String(trap.pid)));
  assert.match(read(`/proc/${trap.pid}/cmdline`), /--run-dir/);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
});
