import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { recall } from '../../src/status/history.js';
import { Lab, isAlive, read, until } from '../support/lab.js';
import type { RunRecord } from '../../src/status/run-record.js';

/*
 * The hooks around a run of QEMU: `start` before it, `end` when it has gone; and the history of how runs ended.
 */

/** A hook that writes down what it is told, one line a run. */
function note(lab: Lab): string {
  return `#!/bin/sh\necho "$1 $QEMU_TRAP_VM $QEMU_TRAP_END $QEMU_TRAP_CUT_OFF $QEMU_TRAP_VERDICT $QEMU_TRAP_STATUS \${QEMU_TRAP_SIGNAL:--} $QEMU_TRAP_SECONDS" >>"${lab.file('noted')}"\n`;
}

function history(lab: Lab): readonly RunRecord[] {
  return recall(lab.file('state/vm.history'));
}

const named = (lab: Lab): string[] => ['--hooks', lab.hooks, '--name', 'vm', '--state-dir', lab.file('state')];

/** One ending of a VM for each word that `end` may be told. */
const endings: Readonly<
  Record<string, { readonly how: (lab: Lab, options: string[]) => Promise<void>; readonly noted: RegExp }>
> = {
  'guest-shutdown': {
    how: async (lab, options) => {
      const trap = await lab.startGuest({ options });
      trap.kill('SIGTERM');
      assert.equal(await trap.status(), 0);
      assert.equal(trap.verdict['end'], 'guest-shutdown');
    },
    noted: /^end vm guest-shutdown no clean 0 SIGTERM \d+\.\d\d$/,
  },
  'guest-reset': {
    how: async (lab, options) => {
      const trap = await lab.startGuest({ options, temper: 'rebooting', qemu: ['-no-reboot'] });
      trap.kill('SIGTERM');
      assert.equal(await trap.status(), 0);
    },
    noted: /^end vm guest-reset no clean 0 SIGTERM /,
  },
  quit: {
    how: async (lab, options) => {
      const trap = await lab.startGuest({ options: [...options, '--timeout', '0.5'], temper: 'stubborn' });
      trap.kill('SIGTERM');
      assert.equal(await trap.status(), 124);
    },
    noted: /^end vm quit yes forced 124 SIGTERM /,
  },
  kill: {
    how: async (lab, options) => {
      const trap = await lab.startGuest({
        options: [...options, '--timeout', '0.5', '--kill-after', '0.5'],
        temper: 'stubborn',
      });
      await lab.hang(trap.qemuPid);
      trap.kill('SIGTERM');
      assert.equal(await trap.status(), 137);
    },
    noted: /^end vm kill yes killed 137 SIGTERM /,
  },
  crash: {
    how: async (lab, options) => {
      const trap = await lab.startGuest({ options });
      process.kill(trap.qemuPid, 'SIGSEGV');
      assert.equal(await trap.status(), 139);
      assert.equal(trap.verdict.level, 'warning');
    },
    noted: /^end vm crash yes by-itself 139 - /,
  },
  'start-failed': {
    how: async (lab, options) => {
      assert.equal(await lab.start({ options, qemu: ['-nonsense'] }).status(), 1);
    },
    noted: /^end vm start-failed no failed-to-start 1 - /,
  },
};

for (const [end, { how, noted }] of Object.entries(endings)) {
  test(`the hook end and the history are told of '${end}'`, async (t) => {
    const lab = new Lab(t);
    lab.hook('end', note(lab));
    await how(lab, named(lab));
    assert.match(read(lab.file('noted')).trim(), noted);
    const [stop, ...more] = history(lab);
    assert.equal(stop?.end, end);
    assert.match(String(stop?.['message']), /exit status \d+$/);
    assert.equal(more.length, 0);
    await lab.assertNothingLeft();
  });
}

test('an end that hangs has its own short time, and the last line is still the verdict', async (t) => {
  const lab = new Lab(t);
  lab.hook('end', '#!/bin/sh\ntrap "" TERM\necho waiting\nwhile :; do sleep 1; done\n');
  const trap = await lab.startGuest({ options: named(lab) });
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.match(String(trap.events('hook-end').at(-1)?.['why']), /did not exit within 10 s/);
  assert.equal(trap.verdict['verdict'], 'clean');
  await lab.assertNothingLeft();
});

test('start runs before QEMU does, without a monitor, and steps of start.d in their order', async (t) => {
  const lab = new Lab(t);
  mkdirSync(`${lab.hooks}/start.d`);
  const line = `[ -e /proc/$$/fd/3 ] && fd=there\necho "$0 $1 $QEMU_TRAP_VM fd3=$fd pid=$QEMU_TRAP_QEMU_PID" >>"${lab.file('noted')}"`;
  for (const step of ['20-b', '10-a']) lab.hook(`start.d/${step}`, `#!/bin/sh\n${line}\n`);
  const trap = await lab.startGuest({ options: named(lab) });
  assert.equal(
    read(lab.file('noted')),
    ['10-a', '20-b'].map((step) => `${lab.hooks}/start.d/${step} start vm fd3= pid=\n`).join(''),
  );
  const order = trap.log
    .map(({ event }) => event)
    .filter((event) => ['hook-start', 'hook-end', 'start'].includes(event));
  assert.deepEqual(order, ['hook-start', 'hook-end', 'hook-start', 'hook-end', 'start']);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
});

test('a start that fails, says not now or cannot be trusted keeps QEMU from being started, and end is told', async (t) => {
  for (const [text, mode, why] of [
    ['exit 3', 0o755, /exited with status 3/],
    ['exit 75', 0o755, /said "not now"/],
    ['exit 0', 0o777, /cannot be run/],
  ] as const) {
    const lab = new Lab(t);
    lab.hook('end', note(lab));
    const path = lab.hook('start', `#!/bin/sh\n${text}\n`);
    // The umask has had its say.
    chmodSync(path, mode);
    const trap = lab.start({ options: named(lab) });
    assert.equal(await trap.status(), 125);
    assert.match(trap.verdict.message, why);
    assert.equal(trap.events('start').length, 0);
    assert.equal(read(lab.serial), '');
    assert.match(read(lab.file('noted')), /^end vm start-failed no not-started 125 - /);
    await lab.assertNothingLeft();
  }
});

test('SIGTERM while start runs ends it, QEMU is not started, and that is status 0', async (t) => {
  const lab = new Lab(t);
  lab.hook('start', `#!/bin/sh\nsleep 1000 &\necho $! >"${lab.file('child')}"\nwait\n`);
  const trap = lab.start({ options: named(lab) });
  const child = await until('start has a child', () => Number(read(lab.file('child'))) || null);
  // One that ends nothing ends no start either.
  trap.kill('SIGUSR1');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.match(trap.verdict.message, /^SIGTERM: QEMU was not started: SIGTERM came during the hook start/);
  assert.equal(isAlive(child), false);
  assert.equal(trap.events('start').length, 0);
  await lab.assertNothingLeft();
});

test('a SIGTERM that comes before start runs ends it, too', async (t) => {
  const lab = new Lab(t);
  lab.hook('start', '#!/bin/sh\nsleep 1000\n');
  for (let round = 0; round < 5; round++) {
    const trap = lab.start({ options: named(lab) });
    await until('it has its run directory', () => existsSync(`${lab.runDir}/lock`));
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
    assert.doesNotMatch(trap.stderr, /did not exit within/);
    assert.equal(trap.events('start').length, 0);
    await lab.assertNothingLeft();
  }
});

test('SIGQUIT ends an end that hangs', async (t) => {
  const lab = new Lab(t);
  lab.hook('end', `#!/bin/sh\necho here >"${lab.file('noted')}"\nsleep 1000\n`);
  const trap = await lab.startGuest({ options: named(lab) });
  trap.kill('SIGTERM');
  await until('end runs', () => read(lab.file('noted')) || null);
  trap.kill('SIGQUIT');
  assert.equal(await trap.status(), 0);
  assert.doesNotMatch(trap.stderr, /did not exit within/);
  await lab.assertNothingLeft();
});

test('without start and end nothing runs, and a SIGTERM before QEMU is there reaches its guest', async (t) => {
  const lab = new Lab(t);
  const trap = lab.start({ options: [...named(lab), '--press', '1'] });
  await trap.event('start');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.deepEqual(
    trap.events('hook-start').filter(({ occasion }) => occasion !== undefined),
    [],
  );
});

test('--check finds what is wrong with start and end', async (t) => {
  const lab = new Lab(t);
  lab.hook('start', '#!/nowhere/sh\n');
  lab.hook('end', '#!/bin/sh\n', 0o644);
  const check = lab.start({ options: ['--check', ...named(lab)], command: [], log: 'text' });
  assert.equal(await check.status(), 125);
  assert.match(check.stdout, /start: its interpreter \/nowhere\/sh does not exist/);
  assert.match(check.stdout, /end: it is not executable; fix: chmod 755/);
});

test('a history keeps the last hundred stops, survives a line that was cut short, and one that cannot be written stops nothing', async (t) => {
  const lab = new Lab(t);
  mkdirSync(lab.file('state'));
  const old = JSON.stringify({
    time: '2026-01-01T00:00:00.000Z',
    vm: 'vm',
    end: 'quit',
    verdict: 'forced',
    cut_off: true,
    status: 124,
    signal: 'SIGTERM',
    cause: 'deadline',
    ms: 60_000,
    timeout_ms: 60_000,
    message: 'x'.repeat(2_000),
  });
  writeFileSync(lab.file('state/vm.history'), `${`${old}\n`.repeat(90)}{"time":`);
  const stop = async (): Promise<void> => {
    const trap = await lab.startGuest({ options: named(lab) });
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
  };
  await stop();
  assert.ok(read(lab.file('state/vm.history')).split('\n').length <= 102);
  assert.equal(history(lab).at(-1)?.end, 'guest-shutdown');

  writeFileSync(lab.file('blocked'), '');
  const trap = await lab.startGuest({ options: [...named(lab), '--state-dir', lab.file('blocked/state')] });
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(trap.events('history-failed').length, 1);
  assert.equal(trap.verdict['verdict'], 'clean');
});
