import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { Lab, read, until } from '../support/lab.js';
import { noStrace, withLateSessions } from '../support/strace.js';

test('the same signal while its hook runs is coalesced: one run, one line with the count', async (t) => {
  const lab = new Lab(t);
  lab.hook('SIGUSR1', '#!/bin/sh\necho run >>runs\nwhile ! [ -e go ]; do sleep 0.05; done\n');
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks] });
  trap.kill('SIGUSR1');
  await until('the hook runs', () => read(lab.file('runs')) !== '');
  for (let i = 0; i < 5; i++) {
    trap.kill('SIGUSR1');
    // The kernel coalesces too: each is to arrive on its own.
    await until('it is taken', () => !/^ShdPnd:\s*0*200$/m.test(read(`/proc/${trap.pid}/status`)));
  }
  writeFileSync(lab.file('go'), '');
  const line = await trap.event('coalesced');
  assert.ok(Number(line['times']) >= 1 && Number(line['times']) <= 5);
  assert.equal(read(lab.file('runs')), 'run\n');
  assert.equal(trap.events('coalesced').length, 1);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
});

test('a signal whose hook is overdue, and slow to end, may come again: each run has a monitor and an end of its own', async (t) => {
  const lab = new Lab(t);
  lab.hook(
    'SIGUSR1',
    `#!/bin/sh
echo run >>runs
[ "$(wc -l <runs)" -gt 2 ] && { qmp query-name >answer; exit 0; }
trap '' TERM
while :; do sleep 0.1; done
`,
  );
  const trap = await lab.startGuest({
    qemu: ['-name', 'web'],
    options: ['--hooks', lab.hooks, '--signal', 'USR1,timeout=2'],
  });
  for (const run of [1, 2]) {
    trap.kill('SIGUSR1');
    await trap.event('failed', run);
  }
  await until('both are gone', () => lab.left().length === 2);
  trap.kill('SIGUSR1');
  await until('the third has its answer', () => read(lab.file('answer')) === '{"name": "web"}\n');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
});

test('during a shutdown: others stand back, a reset is refused, a repeated SIGTERM never forces', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest({
    temper: 'lingering',
    options: ['--signal', 'HUP,script=reset', '--signal', 'USR1,monitorcommand=system_reset'],
  });
  trap.kill('SIGTERM');
  await lab.guestSaid('pressed');
  trap.kill('SIGINT');
  trap.kill('SIGHUP');
  trap.kill('SIGUSR1');
  trap.kill('SIGTERM');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(lab.said('up'), 1, 'nothing has reset the guest');
  assert.equal(lab.said('bye'), 1);
  assert.deepEqual(
    trap.events('stands').map((line) => line['signal']),
    ['SIGINT'],
  );
  assert.deepEqual(
    trap
      .events('refused')
      .map((line) => line['signal'])
      .sort(),
    ['SIGHUP', 'SIGUSR1'],
  );
  assert.equal(trap.events('default-action').length, 0);
  assert.equal(trap.verdict['signal'], 'SIGTERM');
});

test('SIGQUIT cuts the wait: the default action now, 124', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest({ temper: 'stubborn' });
  trap.kill('SIGTERM');
  await lab.guestSaid('pressed');
  trap.kill('SIGQUIT');
  assert.equal(await trap.status(), 124);
  assert.equal(trap.verdict['cause'], 'cut');
  await lab.assertNothingLeft();
});

test('SIGQUIT alone: quit at once, 124, the button never pressed', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest();
  trap.kill('SIGQUIT');
  assert.equal(await trap.status(), 124);
  assert.equal(lab.said('pressed'), 0);
});

test('SIGTERM while a hook that resets and waits is running: the guest is shut down', async (t) => {
  const lab = new Lab(t);
  lab.hook('SIGHUP', '#!/bin/sh\nqmp system_reset\nsleep 600\n');
  const trap = await lab.startGuest({
    options: ['--hooks', lab.hooks, '--signal', 'HUP,default=none', '--press', '0.5'],
  });
  trap.kill('SIGHUP');
  await lab.guestSaid('up', 2);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(lab.said('bye'), 1);
  await lab.assertNothingLeft();
});

const cleanReboot = `#!/bin/sh
qmp set-action '{"shutdown":"pause"}'
qmp --wait SHUTDOWN system_powerdown
qmp system_reset
qmp cont
qmp set-action '{"shutdown":"poweroff"}'
`;

test('a hook that reboots the guest cleanly within one QEMU: the guest is back, and goes at the next SIGTERM', async (t) => {
  const lab = new Lab(t);
  lab.hook('mine', cleanReboot);
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks, '--signal', 'USR1,script=mine'] });
  trap.kill('SIGUSR1');
  await lab.guestSaid('up', 2);
  assert.equal(lab.said('bye'), 1);
  assert.equal((await trap.event('hook-end'))['outcome'], 'done');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(lab.said('bye'), 2);
  assert.equal(trap.verdict['verdict'], 'clean');
});

test('SIGTERM while such a reboot is under way: the guest that has said goodbye is not started for nothing', async (t) => {
  const lab = new Lab(t);
  lab.hook('mine', cleanReboot);
  const trap = await lab.startGuest({
    temper: 'lingering',
    options: ['--hooks', lab.hooks, '--signal', 'USR1,script=mine'],
  });
  trap.kill('SIGUSR1');
  await lab.guestSaid('pressed');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(lab.said('bye'), 1);
  await lab.assertNothingLeft();
});

test('SIGUSR1 opens no debugger, SIGCONT passes without a word, and every other signal is logged and ignored', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest();
  const signals = [
    'SIGUSR1',
    'SIGUSR2',
    'SIGALRM',
    'SIGABRT',
    'SIGTRAP',
    'SIGSYS',
    'SIGXCPU',
    'SIGXFSZ',
    'SIGVTALRM',
    'SIGIO',
    'SIGSTKFLT',
    'SIGTSTP',
    'SIGTTIN',
    'SIGTTOU',
    'SIGURG',
  ] as const;
  for (const signal of signals) trap.kill(signal);
  await trap.event('ignored', signals.length);
  // Only now: the kernel discards stop signals that are still pending when SIGCONT comes (signal(7)).
  trap.kill('SIGCONT');
  assert.deepEqual(
    trap
      .events('ignored')
      .map((line) => line['signal'])
      .sort(),
    [...signals].sort(),
  );
  assert.doesNotMatch(trap.stderr, /[Dd]ebugger|SIGCONT/);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
});

/** Sends `count` signals as fast as a C library can. */
function storm(pid: number, signal: number, count: number, then = ''): Promise<unknown> {
  const sender = spawn('python3', ['-c', `import os\nfor _ in range(${count}): os.kill(${pid}, ${signal})\n${then}`], {
    stdio: 'ignore',
  });
  return new Promise((resolve) => sender.on('exit', resolve));
}

function memory(pid: number): number {
  return Number(/^VmRSS:\s*(\d+)/m.exec(read(`/proc/${pid}/status`))?.[1]);
}

for (const [what, options] of [
  ['ignored', []],
  ['with a hook', ['--signal', 'USR2,script=slow']],
  ['with a monitor command', ['--signal', 'USR2,monitorcommand=query-name']],
] as const) {
  test(`a storm of 100,000 signals (${what}) costs neither memory nor a process, and a shutdown in its middle works`, async (t) => {
    const lab = new Lab(t);
    lab.hook('slow', '#!/bin/sh\nqmp query-name\nsleep 0.1\n');
    const trap = await lab.startGuest({ options: ['--hooks', lab.hooks, ...options] });
    await storm(trap.pid, 12, 20_000);
    const before = memory(trap.pid);
    await storm(trap.pid, 12, 80_000);
    const after = memory(trap.pid);
    assert.ok(after < before + 30_000, `${before} kB before, ${after} kB after`);
    assert.ok(lab.left().length <= 8, 'no pile of processes');
    const more = storm(trap.pid, 12, 20_000);
    // One that comes while libuv's pipe is full is lost.
    await until('it is heard', () => {
      trap.kill('SIGTERM');
      return trap.events('shutdown').length > 0;
    });
    assert.equal(await trap.status(), 0);
    await more;
    assert.equal(lab.said('bye'), 1);
    await lab.assertNothingLeft();
  });
}

test('a storm during a shutdown is told of, not logged line by line', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest({ temper: 'stubborn' });
  trap.kill('SIGTERM');
  await lab.guestSaid('pressed');
  await storm(trap.pid, 15, 5_000);
  await storm(trap.pid, 2, 5_000);
  process.kill(trap.qemuPid, 'SIGKILL');
  assert.equal(await trap.status(), 137);
  assert.equal(trap.events('coalesced').length, 1);
  assert.equal(trap.events('stands').length, 1);
});

test('what was counted is told, though QEMU ends in its middle', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest({ temper: 'stubborn' });
  trap.kill('SIGTERM');
  await trap.event('shutdown');
  for (let sent = 1; sent <= 2; sent++) {
    trap.kill('SIGTERM');
    // The kernel coalesces too: each is to arrive on its own.
    await until('it has arrived', () => /^SigPnd:\s+0+$\n^ShdPnd:\s+0+$/m.test(read(`/proc/${trap.pid}/status`)));
  }
  await trap.event('powerdown');
  process.kill(trap.qemuPid, 'SIGKILL');
  assert.equal(await trap.status(), 137);
  assert.equal(trap.events('coalesced')[0]?.['times'], 2);
});

test('what one hook has left is ended without a blow to a hook of another signal, started meanwhile', async (t) => {
  const lab = new Lab(t);
  lab.hook('SIGUSR1', '#!/bin/sh\nexit 0\n');
  lab.hook('SIGUSR2', '#!/bin/sh\nset -e\nfor i in 1 2 3 4 5 6 7 8 9 10 11 12; do /bin/true; done\n');
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks] });
  const rounds = 25;
  for (let round = 1; round <= rounds; round++) {
    trap.kill('SIGUSR1');
    trap.kill('SIGUSR2');
    await trap.event('hook-end', 2 * round);
  }
  assert.deepEqual(
    trap.events('hook-end').filter(({ outcome }) => outcome !== 'done'),
    [],
  );
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
});

test('a second signal to the whole process group, before the hook has a session of its own, does not end the hook', {
  skip: noStrace,
}, async (t) => {
  const lab = new Lab(t);
  lab.hook('SIGUSR1', '#!/bin/sh\necho ran >>ran\n');
  const trap = await lab.startGuest({
    options: ['--hooks', lab.hooks],
    through: withLateSessions(lab.file('strace'), 100),
  });
  const sessionOf = (pid: number): number => Number(read(`/proc/${pid}/stat`).split(') ')[1]?.split(' ')[3]);
  for (let round = 1; round <= 5; round++) {
    trap.kill('SIGUSR1');
    await until('a child that is to be the hook is in its session', () =>
      lab
        .left()
        .some(
          (pid) =>
            pid !== trap.pid && read(`/proc/${pid}/comm`) === 'qemu-trap\n' && sessionOf(pid) === sessionOf(trap.pid),
        ),
    );
    process.kill(-trap.pid, 'SIGUSR1');
    await until(`round ${round}: the hook ran`, () => read(lab.file('ran')).split('\n').length > round, 10_000);
    await trap.event('hook-end', round);
  }
  assert.ok(trap.events('hook-end').every(({ level }) => level === 'info'));
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
});
