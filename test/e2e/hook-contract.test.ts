import assert from 'node:assert/strict';
import { accessSync, chownSync, constants, existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { isAlive, Lab, read, until, type StartOptions } from '../support/lab.js';

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** A hook named for SIGTERM, run once against a guest; with everything at its end. */
async function stopWith(lab: Lab, hook: string, start: StartOptions = {}) {
  lab.hook('SIGTERM', hook);
  const trap = await lab.startGuest({ ...start, options: ['--hooks', lab.hooks, ...(start.options ?? [])] });
  trap.kill('SIGTERM');
  const status = await trap.status();
  await lab.assertNothingLeft();
  return { trap, status };
}

const speakers: readonly [string, string][] = [
  [
    'sh',
    `#!/bin/sh
read -r greeting <&3
echo "$greeting" >greeting
echo '{"execute":"qmp_capabilities"}' >&3; read -r answer <&3
echo '{"execute":"query-status"}' >&3; read -r status <&3
echo "$status" >answer
echo '{"execute":"system_powerdown"}' >&3; read -r answer <&3
`,
  ],
  [
    'bash',
    `#!/bin/bash
exec 4<&3
read -r -u 3 greeting
echo "$greeting" >greeting
printf '%s\\n' '{"execute":"qmp_capabilities"}' >&3; read -r -u 3 _
printf '%s\\n' '{"execute":"query-status"}' >&3; read -r -u 3 status
echo "$status" >answer
printf '%s\\n' '{"execute":"system_powerdown"}' >&3; read -r -u 3 _
`,
  ],
  [
    'busybox sh',
    `#!/usr/bin/env -S busybox sh
read -r greeting <&3
echo "$greeting" >greeting
echo '{"execute":"qmp_capabilities"}' >&3; read -r answer <&3
echo '{"execute":"query-status"}' >&3; read -r status <&3
echo "$status" >answer
echo '{"execute":"system_powerdown"}' >&3; read -r answer <&3
`,
  ],
  [
    'Python, fd 3 by number',
    `#!/usr/bin/env python3
import json, os
monitor = os.fdopen(int(os.environ["QMP_FD"]), "r+b", buffering=0)
def line():
    data = b""
    while not data.endswith(b"\\n"):
        data += monitor.read(1)
    return data
open("greeting", "wb").write(line())
def execute(command):
    monitor.write(json.dumps({"execute": command}).encode() + b"\\n")
    return line()
execute("qmp_capabilities")
open("answer", "wb").write(execute("query-status"))
execute("system_powerdown")
`,
  ],
];

for (const [language, hook] of speakers) {
  test(`a ${language} hook reads the greeting, negotiates, queries and powers down, all on fd 3`, async (t) => {
    const lab = new Lab(t);
    const { trap, status } = await stopWith(lab, hook);
    assert.equal(status, 0);
    assert.match(read(lab.file('greeting')), /^\{"QMP": \{"version"/);
    assert.match(read(lab.file('answer')), /^\{"return": \{.*"status": "running"/);
    assert.equal(lab.said('pressed'), 1);
    assert.equal(trap.events('next-link').length, 0, 'the hook did it, and no other link');
  });
}

test('a hook may write its commands and exit at once, without reading', async (t) => {
  const lab = new Lab(t);
  const { trap, status } = await stopWith(
    lab,
    `#!/bin/sh\nprintf '{"execute":"qmp_capabilities"}{"execute":"system_powerdown"}' >&3\n`,
  );
  assert.equal(status, 0);
  assert.equal(lab.said('bye'), 1);
  assert.equal(trap.events('next-link').length, 0);
});

test('fd 3 is blocking: a read that begins before the data comes waits for it', async (t) => {
  const lab = new Lab(t);
  const { status } = await stopWith(
    lab,
    `#!/bin/sh
read -r greeting <&3
echo '{"execute":"qmp_capabilities"}' >&3; read -r answer <&3
( sleep 0.5; echo '{"execute":"query-name"}' >&3 ) &
read -r late <&3 || { echo "read failed" >late; exit 1; }
echo "$late" >late
grep flags /proc/self/fdinfo/3 >flags
wait
echo '{"execute":"system_powerdown"}' >&3
`,
  );
  assert.equal(status, 0);
  assert.match(read(lab.file('late')), /"return"/);
  const flags = Number.parseInt(/flags:\s*(\d+)/.exec(read(lab.file('flags')))?.[1] ?? '', 8);
  assert.equal(flags & 0o4000, 0, 'O_NONBLOCK is off');
});

test('environment, argument, directory, stdio and group of a hook', async (t) => {
  const lab = new Lab(t);
  const { trap, status } = await stopWith(
    lab,
    `#!/bin/sh
echo "to stdout"; echo "to stderr" >&2
{ env; echo "ARGS=$*"; echo "PWD_IS=$(pwd)"; echo "GROUP=$(ps -o pgid= -p $$ | tr -d ' ')"; echo "SELF=$$"; } >facts
ls -l /proc/self/fd >fds
readlink /proc/$$/fd/0 >stdin
command -v qmp >which
qmp system_powerdown
`,
    {
      options: ['--timeout', '42s', '--press', '500ms,10s'],
      qemu: ['-name', 'web'],
      env: { NOTIFY_SOCKET: '/nowhere' },
    },
  );
  assert.equal(status, 0);
  const facts = Object.fromEntries(
    read(lab.file('facts'))
      .split('\n')
      .map((line) => [line.split('=')[0], line.slice(line.indexOf('=') + 1)]),
  );
  assert.equal(facts['ARGS'], 'SIGTERM');
  assert.equal(facts['PWD_IS'], lab.dir);
  assert.equal(facts['GROUP'], facts['SELF']);
  assert.equal(facts['QMP_FD'], '3');
  assert.equal(facts['QEMU_TRAP_SIGNAL'], 'SIGTERM');
  assert.equal(facts['QEMU_TRAP_VM'], 'web');
  assert.equal(facts['QEMU_TRAP_PID'], String(trap.pid));
  assert.equal(facts['QEMU_TRAP_QEMU_PID'], String(trap.qemuPid));
  assert.equal(facts['QEMU_TRAP_HOOK'], `${lab.hooks}/SIGTERM`);
  assert.equal(facts['QEMU_TRAP_HOOKS'], lab.hooks);
  assert.ok(['41', '42'].includes(facts['QEMU_TRAP_TIMEOUT'] ?? ''));
  assert.equal(facts['QEMU_TRAP_PRESS'], '0.5,10');
  assert.equal(facts['NOTIFY_SOCKET'], undefined);
  assert.equal(read(lab.file('stdin')).trim(), '/dev/null');
  assert.match(facts['PATH'] ?? '', /^\/[^:]*\/hooks\/lib:/);
  assert.equal(read(lab.file('which')).trim(), `${(facts['PATH'] ?? '').split(':')[0]}/qmp`);
  assert.deepEqual(
    trap
      .events('hook-output')
      .map(({ message }) => message)
      .sort(),
    ['to stderr', 'to stdout'],
  );
  assert.equal(trap.stdout, '', "stdout is the guest's");
  // 4 is the descriptor that ls itself reads the directory through.
  const fds = [...read(lab.file('fds')).matchAll(/ (\d+) -> (\S+)/g)].filter(
    ([, , target]) => !target?.startsWith('/proc/'),
  );
  assert.deepEqual(
    fds.map(([, fd]) => fd),
    ['0', '1', '2', '3'],
    'nothing else is open in a hook',
  );
});

test('a hook may open its outputs by name, and what it writes to both keeps its order', async (t) => {
  const lab = new Lab(t);
  const lines = ['one', 'two', 'three', 'four', 'five'];
  const { trap } = await stopWith(
    lab,
    `#!/bin/sh
set -e
echo one >/dev/stderr
echo two >/dev/stdout
echo three >>/proc/self/fd/2
echo four
echo five >&2
qmp system_powerdown
`,
  );
  assert.deepEqual(
    trap.events('hook-output').map(({ message }) => message),
    lines,
  );
  assert.equal(trap.verdict['verdict'], 'clean');
});

test('each of twenty steps one right after the other may', async (t) => {
  const lab = new Lab(t);
  mkdirSync(lab.file('hooks/SIGUSR1.d'));
  const names = Array.from({ length: 20 }, (_, i) => `${i + 10}step`);
  for (const name of names) lab.hook(`SIGUSR1.d/${name}`, `#!/bin/sh\nset -e\necho ${name} >/dev/stderr\n`);
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks] });
  trap.kill('SIGUSR1');
  await trap.event('hook-end', names.length);
  await until('all is in the log', () => trap.events('hook-output').length === names.length);
  assert.deepEqual(
    trap.events('hook-output').map(({ message }) => message),
    names,
  );
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  await lab.assertNothingLeft();
});

test('exit status 75: not now, the guest runs on, and the next signal asks again', async (t) => {
  const lab = new Lab(t);
  lab.hook('SIGTERM', '#!/bin/sh\n[ -e now ] || exit 75\nqmp system_powerdown\n');
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks, '--timeout', '20'] });
  trap.kill('SIGTERM');
  await trap.event('dropped');
  assert.equal(lab.said('pressed'), 0);
  writeFileSync(lab.file('now'), '');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(lab.said('pressed'), 1);
});

test('exit status 75 of one signal does not take another with it that came meanwhile and is to stop the VM', async (t) => {
  const lab = new Lab(t);
  lab.hook('SIGTERM', '#!/bin/sh\nuntil [ -e now ]; do sleep 0.1; done\nexit 75\n');
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks, '--timeout', '20'] });
  trap.kill('SIGTERM');
  await trap.event('hook-start');
  trap.kill('SIGPWR');
  await trap.event('stands');
  writeFileSync(lab.file('now'), '');
  await trap.event('dropped');
  assert.equal(await trap.status(), 0);
  assert.equal(lab.said('bye'), 1);
  assert.equal(trap.verdict['signal'], 'SIGPWR');
});

test('the qmp command: arguments, answers, errors, waits, and no state between calls', async (t) => {
  const lab = new Lab(t);
  // On a signal that ends nothing: QEMU is to stay when its guest has powered off, and the hook to have its time.
  lab.hook(
    'SIGUSR1',
    `#!/bin/sh
qmp query-name >name
qmp no-such-command 2>error; echo $? >error-status
qmp set-action '{"shutdown":"pause"}' >empty || exit 1
qmp set-action '{"shutdown":' 2>bad; echo $? >bad-status
qmp human-monitor-command '{"command-line":"info name"}' >human
qmp 2>usage; echo $? >usage-status
qmp --wait SHUTDOWN system_powerdown >event
echo waited >waited
`,
  );
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks], qemu: ['-name', 'web'] });
  trap.kill('SIGUSR1');
  await until('the event was waited for', () => read(lab.file('waited')) || null);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.match(read(lab.file('name')), /^\{"name": "web"\}\n$/);
  assert.match(read(lab.file('error')), /^qmp: no-such-command: The command no-such-command has not been found\n$/);
  assert.equal(read(lab.file('error-status')), '1\n');
  assert.equal(read(lab.file('empty')), '');
  assert.match(read(lab.file('bad')), /not JSON/);
  assert.equal(read(lab.file('bad-status')), '1\n');
  assert.match(read(lab.file('human')), /^"web\\r\\n"\n$/);
  assert.equal(read(lab.file('usage-status')), '2\n');
  assert.match(read(lab.file('event')), /"event": "SHUTDOWN", "data": \{"guest": true, "reason": "guest-shutdown"\}/);
});

test('a hook of the name powerdown or reset in the hooks directory replaces the bundled one', async (t) => {
  const lab = new Lab(t);
  lab.hook('powerdown', '#!/bin/sh\necho mine\nqmp system_powerdown\n');
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks] });
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(trap.events('hook-output')[0]?.message, 'mine');
});

for (const name of ['SIGUSR2', 'sigusr2', 'USR2', 'usr2']) {
  test(`a file named ${name} is the hook for SIGUSR2, and the guest runs on`, async (t) => {
    const lab = new Lab(t);
    lab.hook(name, '#!/bin/sh\necho "$1"\n');
    const trap = await lab.startGuest({ options: ['--hooks', lab.hooks] });
    trap.kill('SIGUSR2');
    await trap.event('hook-end');
    assert.equal((await trap.event('hook-output')).message, 'SIGUSR2');
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
  });
}

test('a link from SIGHUP to reset resets, and no button is pressed', async (t) => {
  const lab = new Lab(t);
  const { resolve } = await import('node:path');
  symlinkSync(resolve('hooks/reset'), `${lab.hooks}/SIGHUP`);
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks, '--timeout', '3'] });
  trap.kill('SIGHUP');
  await lab.guestSaid('up', 2);
  await trap.event('hook-end');
  trap.kill('SIGHUP');
  await lab.guestSaid('up', 3);
  assert.equal(trap.events('shutdown').length, 0);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(lab.said('pressed'), 1);
});

test('hooks of different signals run side by side, each with a monitor of its own', async (t) => {
  const lab = new Lab(t);
  const meet = (mine: string, other: string): string => `#!/bin/sh
qmp query-name >/dev/null || exit 1
touch ${mine}
while ! [ -e ${other} ]; do sleep 0.05; done
qmp query-status >/dev/null
`;
  lab.hook('SIGUSR1', meet('one', 'two'));
  lab.hook('SIGUSR2', meet('two', 'one'));
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks] });
  trap.kill('SIGUSR1');
  trap.kill('SIGUSR2');
  await trap.event('hook-end', 2);
  assert.deepEqual(
    trap.events('hook-end').map(({ outcome }) => outcome),
    ['done', 'done'],
  );
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
});

test('a hook put into the directory while the VM runs is there for the next signal', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks] });
  trap.kill('SIGUSR1');
  await trap.event('ignored');
  lab.hook('SIGUSR1', '#!/bin/sh\nqmp query-name\n');
  trap.kill('SIGUSR1');
  assert.equal((await trap.event('hook-end'))['outcome'], 'done');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
});

test('a hook that hangs and ignores SIGTERM, with children in other sessions: nothing is left, the guest is dealt with', async (t) => {
  const lab = new Lab(t);
  const { trap, status } = await stopWith(
    lab,
    `#!/bin/bash
trap '' TERM
[ ! -s "$QEMU_TRAP_RUN_DIR/hook-groups" ] || : >grouped
setsid sh -c 'trap "" TERM; echo $$ >session; sleep 600' &
setsid setsid env -i sh -c 'echo $$ >wiped; trap "" TERM; exec sleep 601 <&- >&- 2>&- 3<&-' &
( setsid sh -c 'sleep 602 & sleep 603' & )
sleep 604 &
while :; do sleep 1; done
`,
    { options: ['--timeout', '4'] },
  );
  assert.equal(status, 0);
  assert.equal(lab.said('bye'), 1);
  assert.equal(trap.events('next-link')[0]?.['because'], 'hook-timeout');
  const wiped = Number(read(lab.file('wiped')));
  assert.ok(wiped > 0);
  // Without a control group for the hook nothing tells it from what others have started (docs/leftovers.md).
  if (!existsSync(lab.file('grouped')) && isAlive(wiped)) process.kill(wiped, 'SIGKILL');
  assert.ok(
    !existsSync(lab.file('grouped')) || !isAlive(wiped),
    'not even one that has left its session, its parent, its environment and fd 3',
  );
});

const lastPid = '/proc/sys/kernel/ns_last_pid';

test('what a hook left is ended where the host came to the end of its pids meanwhile', {
  skip: !isWritable(lastPid) || process.geteuid?.() !== 0,
}, async (t) => {
  const lab = new Lab(t);
  lab.hook(
    'SIGUSR1',
    `#!/bin/sh
python3 -c 'open("${lastPid}", "w").write(str(int(open("/proc/sys/kernel/pid_max").read()) - 4))'
for _ in 1 2 3 4 5 6 7 8; do (:); done
setsid sleep 600 >/dev/null 2>&1 3<&- &
echo $! >left
echo $$ >hook
`,
  );
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks] });
  // The lowest pids may be taken: the hook's is to be well above them.
  writeFileSync(lastPid, '20000');
  trap.kill('SIGUSR1');
  await trap.event('hook-end');
  await until('only qemu-trap and QEMU are left', () => lab.left().length === 2);
  assert.ok(Number(read(lab.file('left'))) < Number(read(lab.file('hook'))), 'the younger process has the lower pid');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
});

test('what a hook that has ended left behind is ended, though QEMU runs on', async (t) => {
  const lab = new Lab(t);
  lab.hook('SIGUSR1', `#!/bin/sh\n( trap '' TERM; setsid sleep 600 >/dev/null 2>&1 & )\nexit 0\n`);
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks] });
  trap.kill('SIGUSR1');
  await trap.event('hook-end');
  await until('only qemu-trap and QEMU are left', () => lab.left().length === 2);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
});

test('what a hook left by a chain of forks, each gone when its child is there, is ended', async (t) => {
  const lab = new Lab(t);
  lab.hook(
    'SIGUSR1',
    `#!/bin/sh\n( ( ( setsid sh -c 'setsid sleep 600 & exit 0' >/dev/null 2>&1 & ) & ) & )\nexit 0\n`,
  );
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks] });
  for (let run = 1; run <= 10; run++) {
    trap.kill('SIGUSR1');
    await trap.event('hook-end', run);
    await until('only qemu-trap and QEMU are left', () => lab.left().length === 2);
  }
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
});

test('without ps(1) and mkfifo(1), what a hook left is ended, and what it wrote is logged, all the same', async (t) => {
  const lab = new Lab(t);
  const { execFileSync } = await import('node:child_process');
  const bin = lab.file('bin');
  mkdirSync(bin);
  for (const command of ['sh', 'env', 'setpriv', 'sleep', 'setsid', 'qemu-system-x86_64']) {
    symlinkSync(execFileSync('sh', ['-c', `command -v ${command}`], { encoding: 'utf8' }).trim(), `${bin}/${command}`);
  }
  const { trap, status } = await stopWith(
    lab,
    `#!/bin/sh\ntrap '' TERM\necho here\nsetsid sleep 600 &\nsetsid sleep 601\nsleep 602\n`,
    {
      options: ['--timeout', '2'],
      env: { PATH: bin },
    },
  );
  assert.equal(status, 0);
  assert.equal(trap.events('hook-output')[0]?.message, 'here');
  assert.equal(lab.said('bye'), 1);
});

for (const [what, script] of Object.entries({
  'removes itself': 'rm -- "$0"; qmp system_powerdown',
  'replaces itself': 'cp -- "$0" "$0.new"; mv -- "$0.new" "$0"; qmp system_powerdown',
  'changes its own mode': 'chmod 700 -- "$0"; qmp system_powerdown',
})) {
  test(`a hook that ${what} at once is a hook like any other`, async (t) => {
    for (let i = 0; i < 5; i++) {
      const lab = new Lab(t);
      lab.hook('SIGTERM', `#!/bin/sh\n${script}\n`);
      const trap = await lab.startGuest({ options: ['--hooks', lab.hooks] });
      trap.kill('SIGTERM');
      assert.equal(await trap.status(), 0, trap.stderr);
      assert.equal(trap.events('next-link').length, 0, trap.stderr);
      assert.equal(lab.said('pressed'), 1);
    }
  });
}

test('a hook is not run if another user could exchange a directory on the way to it', {
  skip: process.geteuid?.() === 0 ? false : 'needs root',
}, async (t) => {
  const lab = new Lab(t);
  mkdirSync(lab.file('theirs/hooks'), { recursive: true });
  writeFileSync(lab.file('theirs/hooks/SIGTERM'), '#!/bin/sh\nqmp system_powerdown\n', { mode: 0o755 });
  chownSync(lab.file('theirs'), 65534, 65534);
  const trap = await lab.startGuest({ options: ['--hooks', lab.file('theirs/hooks')] });
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.match(
    String(trap.events('hook-end')[0]?.['why']),
    /cannot be run: \S*\/theirs on the way to it belongs to user 65534/,
  );
  assert.equal(lab.said('bye'), 1, 'the button was pressed all the same');
});
