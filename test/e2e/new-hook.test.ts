import assert from 'node:assert/strict';
import { execFileSync, spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { execute, Lab, program, read, until } from '../support/lab.js';

function call(...options: string[]) {
  return spawnSync(process.execPath, [program, ...options], {
    encoding: 'utf8',
    env: { ...process.env, QEMU_TRAP_HOOKS: '' },
  });
}

test('--new-hook writes a hook that passes --check, shellcheck and its rehearsal, for a signal of either kind', (t) => {
  const lab = new Lab(t);
  const hooks = lab.file('new/hooks');
  for (const name of ['SIGTERM', 'usr1', 'SIGQUIT']) {
    const { status, stdout } = call('--new-hook', name, '--hooks', hooks);
    assert.equal(status, 0);
    const long = name === 'usr1' ? 'SIGUSR1' : name;
    assert.match(
      stdout,
      new RegExp(
        `^wrote ${hooks}/${long}: edit it, then run\n  qemu-trap --check --hooks ${hooks}\n  qemu-trap --try ${long} --hooks ${hooks}\n$`,
      ),
    );
    assert.equal(statSync(`${hooks}/${long}`).mode & 0o777, 0o755);
    execFileSync('shellcheck', [`${hooks}/${long}`], { stdio: 'inherit' });
    const tried = call('--try', long, '--hooks', hooks);
    assert.equal(tried.status, 0, tried.stdout + tried.stderr);
    assert.match(tried.stdout, /The hook did its job\./);
  }
  const others = ['BLOCK_IO_ERROR', 'GUEST_PANICKED', 'RESUME', 'WATCHDOG', 'end', 'ready', 'start'];
  for (const name of others) assert.equal(call('--new-hook', name, '--hooks', hooks).status, 0, name);
  execFileSync(
    'shellcheck',
    others.map((name) => `${hooks}/${name}`),
    { stdio: 'inherit' },
  );
  assert.deepEqual(readdirSync(hooks), [...others, 'SIGQUIT', 'SIGTERM', 'SIGUSR1'].sort());
  const check = call('--check', '--hooks', hooks);
  assert.equal(check.status, 0, check.stdout);
});

test('--new-hook for an event: it runs as it is written', async (t) => {
  const lab = new Lab(t);
  for (const name of ['RESET', 'ready']) assert.equal(call('--new-hook', name, '--hooks', lab.hooks).status, 0);
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks, '--name', 'web'] });
  assert.equal(trap.events('hook-output')[0]?.message, 'web runs');
  await execute(lab, 'system_reset');
  await until('the event is told', () =>
    trap.events('hook-output').some(({ message }) => /^web: RESET, [123] times: \{"event":"RESET",/.test(message)),
  );
  await lab.guestSaid('up', 2);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
});

test('--new-hook and --try name what was probably meant, and the one that cannot be tried', (t) => {
  const lab = new Lab(t);
  const meant = {
    GUEST_PANIKED: /write GUEST_PANICKED$/,
    GUEST_PANIC: /write GUEST_PANICKED$/,
    stop: /write SIGTERM, or STOP \(QEMU's event\)$/,
    Ready: /write ready$/,
    TREM: /write SIGTERM$/,
    SIGSTOP: /SIGSTOP cannot be trapped/,
    nothing: /write a signal \(SIGTERM\), an event of QEMU's \(GUEST_PANICKED\), (start, ready or end|or ready)$/,
    'SIGTERM.d': /write SIGTERM$/,
    Reset: /--signal SIGHUP,script=reset.*, or --(new-hook|try) RESET \(QEMU's event\)$/,
    'disk-full': /write BLOCK_IO_ERROR$/,
  };
  for (const option of ['--new-hook', '--try'])
    for (const [name, says] of Object.entries(meant)) {
      const { status, stderr } = call(option, name, '--hooks', lab.hooks);
      assert.equal(status, 125, name);
      assert.match(stderr, new RegExp(`^qemu-trap: ${option} ${name}: .*\n$`));
      assert.match(stderr.trim(), says);
    }
  lab.hook('SIGKILL', '#!/bin/sh\n');
  assert.match(call('--try', 'SIGKILL', '--hooks', lab.hooks).stderr, /SIGKILL cannot be trapped/);
  for (const name of ['start', 'ready', 'end']) {
    const { status, stderr } = call('--try', name, '--hooks', lab.hooks);
    assert.equal(status, 125);
    assert.match(stderr, new RegExp(`--try ${name}: there is no hook for it: write one with --new-hook ${name},`));
  }
});

test('--try start, ready and end run that hook, with a guest that comes up and shuts down', (t) => {
  const lab = new Lab(t);
  for (const name of ['start', 'ready', 'end'])
    lab.hook(
      name,
      `#!/bin/sh\necho "$1 $QEMU_TRAP_VM $QEMU_TRAP_END" >>"${lab.file('ran')}"\n[ ! -e "${lab.file('fail')}" ]\n`,
    );
  for (const [name, ran] of [
    ['start', 'start try '],
    ['ready', 'ready try '],
    ['end', 'end try guest-shutdown'],
  ] as const) {
    for (const isFailing of [false, true]) {
      rmSync(lab.file('ran'), { force: true });
      if (isFailing) writeFileSync(lab.file('fail'), '');
      else rmSync(lab.file('fail'), { force: true });
      const { status, stdout, stderr } = call('--try', name, '--hooks', lab.hooks);
      assert.equal(read(lab.file('ran')), `${ran}\n`, stdout + stderr);
      assert.equal(status, isFailing ? 125 : 0, stdout);
      assert.match(stdout, isFailing ? /\nThe hook failed\./ : /\nThe hook did its job\./);
    }
  }
});

test('--try end with a QEMU whose guest comes up later, and one that stays; --try start that says "not now"', (t) => {
  const lab = new Lab(t);
  lab.hook('end', '#!/bin/sh\nexit 0\n');
  const own = (temper: 'obedient' | 'slow' | 'stubborn'): SpawnSyncReturns<string> =>
    call('--try', 'end', '--hooks', lab.hooks, '--', 'qemu-system-x86_64', ...lab.guest(temper).slice(1));
  const slow = own('slow');
  assert.equal(slow.status, 0, slow.stdout);
  assert.match(slow.stdout, /The hook did its job\.\n$/);
  const stubborn = own('stubborn');
  assert.equal(stubborn.status, 125, stubborn.stdout);
  assert.match(stubborn.stdout, /The hook did its job\. The guest was cut off\.\n$/);
  lab.hook('start', '#!/bin/sh\nexit 75\n');
  const start = call('--try', 'start', '--hooks', lab.hooks);
  assert.equal(start.status, 125, start.stdout);
  assert.match(start.stdout, /The hook said "not now" \(75\), so QEMU was not started\.\n$/);
});

test('--new-hook under umask 077: a service of another user can read what it makes', (t) => {
  const lab = new Lab(t);
  const { status, stderr } = spawnSync(
    'sh',
    ['-c', 'umask 077; exec "$@"', 'sh', process.execPath, program, '--new-hook', 'TERM', '--hooks', lab.file('a/b')],
    { encoding: 'utf8' },
  );
  assert.equal(status, 0, stderr);
  for (const name of ['a', 'a/b', 'a/b/SIGTERM']) assert.equal(statSync(lab.file(name)).mode & 0o777, 0o755, name);
});

test('the start and end that --new-hook writes do what they say', async (t) => {
  const lab = new Lab(t);
  for (const name of ['start', 'end']) assert.equal(call('--new-hook', name, '--hooks', lab.hooks).status, 0);
  const trap = await lab.startGuest({
    options: ['--hooks', lab.hooks, '--name', 'web', '--timeout', '0.5'],
    temper: 'stubborn',
  });
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 124);
  const said = trap.events('hook-output').map(({ message }) => message);
  assert.deepEqual(said[0], 'web is about to start');
  assert.match(String(said.at(-1)), /^web was cut off: SIGTERM: forced stop: the deadline passed/);
});

test('--new-hook overwrites nothing, whatever its name, and says in one line what it cannot do', (t) => {
  const lab = new Lab(t);
  lab.hook('term', '#!/bin/sh\nmine\n');
  const there = call('--new-hook', 'SIGTERM', '--hooks', lab.hooks);
  assert.equal(there.status, 125);
  assert.match(there.stderr, /^qemu-trap: --new-hook SIGTERM: \S+\/term exists already: .*\n$/);
  assert.equal(readFileSync(`${lab.hooks}/term`, 'utf8'), '#!/bin/sh\nmine\n');
  assert.deepEqual(readdirSync(lab.hooks), ['term']);
  writeFileSync(lab.file('file'), '');
  for (const [words, says] of [
    [['KILL'], /SIGKILL cannot be trapped/],
    [['nonsense'], /no hook has that name/],
    [
      ['powerdown'],
      /write --signal SIGTERM,script=powerdown to use it, or --new-hook SIGTERM .*or --new-hook POWERDOWN /,
    ],
    [['Save'], /write --signal SIGTERM,script=save to use it, or --new-hook SIGTERM for a hook of your own$/m],
    [['INT', '--hooks', lab.file('file/hooks')], /cannot be written \(ENOTDIR\)/],
    [['INT', '--hooks', '/dev/null'], /\/dev\/null is no directory: name another with --hooks/],
    [['INT', '--', 'qemu'], /runs no QEMU/],
  ] as const) {
    const { status, stderr, stdout } = call('--new-hook', ...words);
    assert.equal(status, 125);
    assert.match(stderr, says);
    assert.equal(stderr.trim().split('\n').length, 1);
    assert.equal(stdout, '');
  }
});

test('--try shows the timeline, what the hook says, and every line over its descriptor 3', (t) => {
  const lab = new Lab(t);
  lab.hook('SIGTERM', '#!/bin/sh\necho "hello from $QEMU_TRAP_VM"\nqmp query-name\nqmp system_powerdown\n');
  const { status, stdout } = call('--try', 'term', '--hooks', lab.hooks);
  assert.equal(status, 0, stdout);
  const lines = stdout.split('\n');
  let at = -1;
  for (const words of [
    /guest +up$/,
    /you +kill -TERM \d+$/,
    /running hook \S+\/SIGTERM/,
    /fd 3 {2}> +\{"execute":"query-name"/,
    /fd 3 {2}< +\{"return": \{"name": "|fd 3 {2}< +\{"return": \{\}/,
    /fd 3 {2}> +\{"execute":"system_powerdown"/,
    /guest +power button$/,
    /clean shutdown/,
  ]) {
    const next = lines.findIndex((line, i) => i > at && words.test(line));
    assert.ok(next > at, `${words} in its turn, in:\n${stdout}`);
    at = next;
  }
  assert.match(stdout, /hook +hello from try$/m);
  assert.match(stdout, /fd 3 {2}< +\{"QMP": /);
  assert.doesNotMatch(stdout, /drain/);
  assert.match(
    stdout,
    /The hook did its job\. The guest shut itself down\. File descriptor 3 carried \d+ lines to QEMU and \d+ from it\.\n$/,
  );
  const times = [...stdout.matchAll(/^ +(\d+) ms/gm)].map(([, ms]) => Number(ms));
  assert.deepEqual(
    times,
    [...times].sort((a, b) => a - b),
  );
});

test('--try tells a hook that fails, and one that leaves its guest running', (t) => {
  const lab = new Lab(t);
  lab.hook('SIGTERM', '#!/bin/sh\nexit 3\n');
  const failed = call('--try', 'TERM', '--hooks', lab.hooks);
  assert.equal(failed.status, 125);
  assert.match(failed.stdout, /The hook failed\. The guest shut itself down\./);
  const reset = call('--try', 'HUP', '--signal', 'HUP,script=reset');
  assert.equal(reset.status, 0, reset.stdout);
  assert.equal(reset.stdout.match(/guest +up$/gm)?.length, 2);
  assert.match(reset.stdout, /The hook did its job\. The guest kept running\./);
  lab.hook('SIGTERM', '#!/bin/sh\nexit 75\n');
  const notNow = call('--try', 'TERM', '--hooks', lab.hooks);
  assert.equal(notNow.status, 0, notNow.stdout);
  assert.match(notNow.stdout, /The guest kept running\./);
});

test('--try ends whatever the user has for SIGQUIT, and runs neither start nor end', (t) => {
  const lab = new Lab(t);
  for (const name of ['start', 'end']) lab.hook(name, `#!/bin/sh\necho ${name} >>"${lab.file('ran')}"\nexit 1\n`);
  lab.hook('SIGQUIT', '#!/bin/sh\nexit 0\n');
  lab.hook('SIGUSR1', '#!/bin/sh\nqmp query-status\n');
  const { status, stdout } = call(
    '--try',
    'USR1',
    '--hooks',
    lab.hooks,
    '--signal',
    'QUIT,script=SIGQUIT,default=none',
  );
  assert.equal(status, 0, stdout);
  assert.equal(read(lab.file('ran')), '');
});

test('--try says where a hook did nothing, and qemu-trap did its part; and where -snapshot would keep nothing as it is', (t) => {
  const lab = new Lab(t);
  lab.hook('SIGTERM', '#!/bin/sh\nexit 0\n');
  const lazy = call('--try', 'TERM', '--hooks', lab.hooks, '--timeout', '2');
  assert.equal(lazy.status, 125);
  assert.match(
    lazy.stdout,
    /The hook did not do its job\. The guest shut itself down\. The hook exited without a press of the power button\./,
  );
  const blockdev = call('--try', 'TERM', '--', 'qemu-system-x86_64', '-blockdev', 'driver=null-co,node-name=d');
  assert.equal(blockdev.status, 125);
  assert.match(blockdev.stderr, /^qemu-trap: --try: -snapshot does not protect the disk of -blockdev: [^\n]*\n$/);
  const failing = call('--try', 'TERM', '--', 'qemu-system-x86_64', '-nonsense');
  assert.equal(failing.status, 125);
  assert.match(failing.stdout, /QEMU exited before the signal was sent, so nothing was tried\./);
});

test('--try does not praise what hangs, what cuts the guest off, nor what does nothing in its time', (t) => {
  const lab = new Lab(t);
  for (const [name, text, words] of [
    ['SIGUSR1', 'exec sleep 1000', /did not do its job|The hook failed/],
    ['SIGTERM', 'qmp quit', /The hook did its job\. The guest was cut off\./],
    ['SIGUSR2', 'qmp system_powerdown', /The hook did its job\. The guest shut itself down\./],
  ] as const) {
    lab.hook(name, `#!/bin/sh\n${text}\n`);
    const { status, stdout } = call('--try', name, '--hooks', lab.hooks, '--timeout', '1');
    assert.equal(status, name === 'SIGUSR2' ? 0 : 125, stdout);
    assert.match(stdout, words);
  }
});

test('--try of an event makes it, and shows what its hook does with it', (t) => {
  const lab = new Lab(t);
  const made = {
    RESET: /guest-reset|host-qmp-system-reset/,
    STOP: /"STOP"/,
    RESUME: /"RESUME"/,
    WATCHDOG: /"action":"none"/,
  };
  for (const [name, says] of Object.entries({ ...made, GUEST_PANICKED: /"action":"pause"/ })) {
    lab.hook(name, '#!/bin/sh\ncat\nqmp query-status\n');
    const { status, stdout, stderr } = call('--try', name, '--hooks', lab.hooks);
    assert.equal(status, 0, `${stdout}${stderr}`);
    assert.match(stdout, says);
    assert.match(stdout, /fd 3 {2}> +\{"execute":"query-status"/);
    assert.match(stdout, /The hook did its job\. (Your own VM needs .* for it, too\. )?File descriptor 3 carried/);
    assert.doesNotMatch(stdout, /example/);
    if (name === 'GUEST_PANICKED') assert.match(stdout, /^GUEST_PANICKED: .*with QEMU's .*-action panic=pause/);
  }
  lab.hook('SHUTDOWN', '#!/bin/sh\necho "QMP_FD is ${QMP_FD-not set}"\n');
  const shutdown = call('--try', 'SHUTDOWN', '--hooks', lab.hooks);
  assert.equal(shutdown.status, 0, shutdown.stdout);
  assert.match(shutdown.stdout, /QMP_FD is not set/);
});

test('--try of any other event runs its hook with an example, and says so; of ready as it comes', (t) => {
  const lab = new Lab(t);
  lab.hook('BLOCK_IO_ERROR', '#!/bin/sh\ncat\n');
  lab.hook('ready', '#!/bin/sh\nqmp query-status\n');
  lab.hook('start', '#!/bin/sh\necho started\nexit 1\n');
  const example = call('--try', 'BLOCK_IO_ERROR', '--hooks', lab.hooks);
  assert.equal(example.status, 0, example.stdout + example.stderr);
  assert.match(example.stdout, /"event":"BLOCK_IO_ERROR","data":\{"device":/);
  assert.match(
    example.stdout,
    /It was run with an example, and the guest runs on as before: BLOCK_IO_ERROR cannot be made here\./,
  );
  const ready = call('--try', 'ready', '--hooks', lab.hooks);
  assert.equal(ready.status, 0, ready.stdout + ready.stderr);
  assert.doesNotMatch(ready.stdout, /hook +started|example/);
  const own = ['--', 'qemu-system-x86_64', '-display', 'none', '-m', '16', '-net', 'none'];
  lab.hook('GUEST_PANICKED', '#!/bin/sh\ncat\n');
  const others = call('--try', 'GUEST_PANICKED', '--hooks', lab.hooks, ...own);
  assert.match(others.stdout, /cannot be made here/, 'it may have no pvpanic');
  lab.hook('STOP', '#!/bin/sh\nexit 3\n');
  const failing = call('--try', 'STOP', '--hooks', lab.hooks, ...own);
  assert.equal(failing.status, 125);
  assert.match(failing.stdout, /The hook failed\./);
  lab.hook('WATCHDOG', '#!/bin/sh\ncat\nexit 75\n');
  const later = call('--try', 'WATCHDOG', '--hooks', lab.hooks, ...own);
  assert.equal(later.status, 0, later.stdout);
  assert.match(later.stdout, /"data":\{"action":"reset"\}/);
  assert.match(later.stdout, /said "not now" \(75\), which changes nothing here/);
  lab.hook('OF_A_NEWER_QEMU', '#!/bin/sh\ncat\n');
  assert.match(call('--try', 'OF_A_NEWER_QEMU', '--hooks', lab.hooks).stdout, /"event":"OF_A_NEWER_QEMU"/);
  const none = call('--try', 'WAKEUP', '--hooks', lab.hooks);
  assert.deepEqual([none.status, none.stdout], [125, '']);
  assert.match(none.stderr, /--try WAKEUP: there is no hook for it: write one with --new-hook WAKEUP/);
});

test('--try without anything to try is one line, and it leaves nothing behind', (t) => {
  const lab = new Lab(t);
  // Others may be at their own in the host's.
  const temporary = lab.file('tmp');
  mkdirSync(temporary);
  const tryIn = (signal: string): ReturnType<typeof call> => {
    const words = [program, '--try', signal, '--hooks', lab.hooks];
    return spawnSync(process.execPath, words, {
      encoding: 'utf8',
      env: { ...process.env, QEMU_TRAP_HOOKS: '', TMPDIR: temporary },
    });
  };
  const { status, stderr } = tryIn('USR2');
  assert.equal(status, 125);
  assert.match(
    stderr,
    /^qemu-trap: --try USR2: there is no rule or hook for SIGUSR2: write a hook with --new-hook SIGUSR2.*\n$/,
  );
  assert.equal(tryIn('TERM').status, 0);
  assert.deepEqual(readdirSync(temporary), []);
});

test("--try with a QEMU of the user's own: it runs with -snapshot, and is as it was", (t) => {
  const lab = new Lab(t);
  const [qemu = '', ...words] = lab.guest().map((word) => word.replace(',snapshot=on', ''));
  const image = readFileSync(lab.file('obedient.img'));
  const { status, stdout } = call('--try', 'TERM', '--press', '0.5', '--', qemu, ...words);
  assert.equal(status, 0, stdout);
  assert.match(stdout, /clean shutdown: the guest powered off/);
  assert.match(read(lab.serial), /guest: bye/);
  assert.deepEqual(readFileSync(lab.file('obedient.img')), image);
});
