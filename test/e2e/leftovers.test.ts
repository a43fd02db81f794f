import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { test, type TestContext } from 'node:test';
import { isAlive, Lab, read, type Trap, until } from '../support/lab.js';

/*
 * What a hook leaves running, with every kind of control-group file system that qemu-trap may find.
 */

/** A mount namespace of its own, in which nothing is at /sys/fs/cgroup. */
const apart = ['unshare', '--mount', '--propagation', 'private', 'sh', '-euc'];
const clear = 'umount -R /sys/fs/cgroup 2>/dev/null || :; mount -t tmpfs none /sys/fs/cgroup; ';

/** A hierarchy of version 1 that is there already: one that was made here would stay. */
const named = /^\d+:(name=[^:]+):/m.exec(read('/proc/self/cgroup'))?.[1];

/** How the file system of one version is mounted there. */
const mounts = {
  2: 'mount -t cgroup2 none /sys/fs/cgroup; ',
  1: `mount -t cgroup -o none,${named} none /sys/fs/cgroup; `,
} as const;

function canMount(version: keyof typeof mounts): boolean {
  const script = `${clear}${mounts[version]}mkdir /sys/fs/cgroup/qemu-trap-try; rmdir /sys/fs/cgroup/qemu-trap-try`;
  return spawnSync(apart[0] as string, [...apart.slice(1), script]).status === 0;
}

const readOnly = 'mount -o remount,ro,bind /sys/fs/cgroup; ';
const namespace = "exec unshare --cgroup sh -euc 'umount /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; ";

/** What qemu-trap finds: the version of the file system, and what is done to it when the group has been entered. */
const surroundings: Readonly<Record<string, { version: 1 | 2; script: string; isOwn: boolean }>> = {
  'version 2': { version: 2, script: 'exec "$@"', isOwn: true },
  'version 1': { version: 1, script: 'exec "$@"', isOwn: true },
  'version 2 in a control-group namespace': { version: 2, script: `${namespace}exec "$@"' sh "$@"`, isOwn: true },
  'version 2, read-only': { version: 2, script: `${readOnly}exec "$@"`, isOwn: false },
  'version 2 in a control-group namespace, read-only': {
    version: 2,
    script: `${namespace}${readOnly}exec "$@"' sh "$@"`,
    isOwn: false,
  },
  'none at all': { version: 2, script: 'umount /sys/fs/cgroup; exec "$@"', isOwn: false },
};

/** A control group that a test's qemu-trap is started in. */
class Group {
  readonly #name = `qemu-trap-test-${randomBytes(6).toString('hex')}`;

  constructor(
    t: TestContext,
    private readonly version: 1 | 2,
  ) {
    this.#run('mkdir "$0"');
    t.after(() => this.#run('find "$0" -depth -type d -exec rmdir {} + 2>/dev/null || :'));
  }

  /** What starts qemu-trap in it. */
  through(script: string): string[] {
    const enter = `echo $$ >/sys/fs/cgroup/${this.#name}/cgroup.procs; `;
    return [...apart, `${clear}${mounts[this.version]}${enter}${script}`, 'sh'];
  }

  /** Has a process join it that has nothing to do with qemu-trap, as `podman exec` or ExecReload= does. */
  join(pid: number): void {
    this.#run(`echo ${pid} >"$0/cgroup.procs"`);
  }

  /** The groups below it. */
  get below(): string[] {
    return this.#run('find "$0" -mindepth 1 -type d').split('\n').filter(Boolean);
  }

  #run(script: string): string {
    const path = `/sys/fs/cgroup/${this.#name}`;
    const [command = '', ...words] = [...apart, clear + mounts[this.version] + script, path];
    const { status, stdout, stderr } = spawnSync(command, words, { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    return stdout;
  }
}

function pidIn(lab: Lab, name: string): number {
  return Number(read(lab.file(name)));
}

function isWritten(lab: Lab, ...names: readonly string[]): Promise<unknown> {
  return until(`${names.join(', ')} are there`, () => names.every((name) => pidIn(lab, name) > 0));
}

function endAfter(t: TestContext, lab: Lab, name: string): void {
  t.after(() => {
    const pid = pidIn(lab, name);
    if (pid > 1 && isAlive(pid)) process.kill(pid, 'SIGKILL');
  });
}

/** A process that nothing leads to but its control group. */
const wiped = (name: string): string =>
  `setsid setsid env -i sh -c 'echo $$ >${name}; trap "" TERM; exec sleep 600 <&- >&- 2>&- 3<&-' &`;

async function stop(trap: Trap): Promise<void> {
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
}

/** Why a test cannot be had here. */
function without(version: 1 | 2): string | false {
  if (process.geteuid?.() !== 0) return 'only root can mount a control-group file system';
  return (version === 2 || named !== undefined) && canMount(version)
    ? false
    : `no control groups of version ${version} here`;
}

for (const [what, { version, script, isOwn }] of Object.entries(surroundings)) {
  test(`what a hook left is ended, and nothing else: control groups of ${what}`, {
    skip: without(version),
  }, async (t) => {
    const lab = new Lab(t);
    const group = new Group(t, version);
    lab.hook(
      'SIGUSR1',
      `#!/bin/sh
setsid sh -c 'echo $$ >session; exec sleep 600' >/dev/null 2>&1 &
( ( setsid sh -c 'echo $$ >orphan; trap "" TERM; exec sleep 601' >/dev/null 2>&1 & ) & )
${wiped('wiped')}
until [ -s session ] && [ -s orphan ] && [ -s wiped ] && [ -e joined ]; do sleep 0.01; done
`,
    );
    endAfter(t, lab, 'wiped');
    const trap = await lab.startGuest({ options: ['--hooks', lab.hooks], through: group.through(script) });
    trap.kill('SIGUSR1');
    await isWritten(lab, 'session', 'orphan', 'wiped');
    const stranger = lab.spawn(['env', '-i', 'sleep', '602'], { detached: true }).pid as number;
    group.join(stranger);
    writeFileSync(lab.file('joined'), '');
    assert.equal((await trap.event('hook-end'))['outcome'], 'done');
    const ended = isOwn ? ['session', 'orphan', 'wiped'] : ['session', 'orphan'];
    await until(`${ended.join(', ')} are ended`, () => !ended.some((name) => isAlive(pidIn(lab, name))));
    assert.ok(isOwn || isAlive(pidIn(lab, 'wiped')), 'nothing leads to it if it has no control group of its own');
    await stop(trap);
    assert.ok(isAlive(stranger), 'what somebody else started in our control group is left alone');
    process.kill(stranger, 'SIGKILL');
    assert.deepEqual(group.below, [], 'no control group is left');
  });
}

const needsGroups = { skip: without(2) };

/** A qemu-trap whose guest is up, in a group of its own. */
async function startIn(lab: Lab, group: Group, options: readonly string[] = []): Promise<Trap> {
  return lab.startGuest({
    options: ['--hooks', lab.hooks, ...options],
    through: group.through('exec "$@"'),
  });
}

test('what one hook left is ended while another runs, which keeps its own', needsGroups, async (t) => {
  const lab = new Lab(t);
  const group = new Group(t, 2);
  lab.hook('SIGUSR1', `#!/bin/sh\n${wiped('left')}\nuntil [ -s left ] && [ -s own ]; do sleep 0.01; done\n`);
  lab.hook('SIGUSR2', `#!/bin/sh\n${wiped('own')}\nuntil [ -e enough ]; do sleep 0.01; done\n`);
  for (const name of ['left', 'own']) endAfter(t, lab, name);
  const trap = await startIn(lab, group);
  trap.kill('SIGUSR1');
  trap.kill('SIGUSR2');
  assert.equal((await trap.event('hook-end'))['signal'], 'SIGUSR1');
  await until('what the first one left is ended', () => !isAlive(pidIn(lab, 'left')));
  assert.ok(isAlive(pidIn(lab, 'own')));
  writeFileSync(lab.file('enough'), '');
  await until('so is what the second one left', () => !isAlive(pidIn(lab, 'own')));
  await stop(trap);
  assert.deepEqual(group.below, []);
});

test('what a hook moves into another control group is meant to stay', needsGroups, async (t) => {
  const lab = new Lab(t);
  const [group, other] = [new Group(t, 2), new Group(t, 2)];
  lab.hook(
    'SIGUSR1',
    `#!/bin/sh\nsetsid sleep 600 >/dev/null 2>&1 3<&- &\necho $! >moved\nuntil [ -e enough ]; do sleep 0.01; done\n`,
  );
  endAfter(t, lab, 'moved');
  const trap = await startIn(lab, group);
  trap.kill('SIGUSR1');
  await isWritten(lab, 'moved');
  other.join(pidIn(lab, 'moved'));
  writeFileSync(lab.file('enough'), '');
  await trap.event('hook-end');
  await stop(trap);
  assert.ok(isAlive(pidIn(lab, 'moved')));
  process.kill(pidIn(lab, 'moved'), 'SIGKILL');
});

test(
  'a hook that moves itself into another control group is held to its deadline all the same',
  needsGroups,
  async (t) => {
    const lab = new Lab(t);
    const [group, other] = [new Group(t, 2), new Group(t, 2)];
    lab.hook('SIGTERM', '#!/bin/sh\necho $$ >hook\nexec sleep 600\n');
    const trap = await startIn(lab, group, ['--timeout', '4']);
    trap.kill('SIGTERM');
    await isWritten(lab, 'hook');
    other.join(pidIn(lab, 'hook'));
    assert.equal(await trap.status(), 0, trap.stderr);
    assert.equal(trap.events('next-link')[0]?.['because'], 'hook-timeout');
    assert.ok(!isAlive(pidIn(lab, 'hook')));
    assert.deepEqual(group.below, []);
  },
);

test('a hook that forks for as long as it lives is killed whole', needsGroups, async (t) => {
  const lab = new Lab(t);
  const group = new Group(t, 2);
  lab.hook(
    'SIGTERM',
    `#!/bin/sh\ntrap '' TERM\nwhile :; do setsid env -i sh -c 'trap "" TERM; exec sleep 600' >/dev/null 2>&1 3<&- & sleep 0.02; done\n`,
  );
  const trap = await startIn(lab, group, ['--timeout', '3']);
  await stop(trap);
  assert.equal(trap.events('next-link')[0]?.['because'], 'hook-timeout');
  assert.equal(lab.said('bye'), 1);
  assert.deepEqual(group.below, []);
});

test(
  'what the hook of a killed qemu-trap left is ended by the next, though nothing but its control group leads to it',
  needsGroups,
  async (t) => {
    const lab = new Lab(t);
    const group = new Group(t, 2);
    lab.hook('SIGUSR1', `#!/bin/sh\n${wiped('wiped')}\nsleep 600\n`);
    endAfter(t, lab, 'wiped');
    const killed = await startIn(lab, group);
    killed.kill('SIGUSR1');
    await isWritten(lab, 'wiped');
    await killed.die();
    await until('QEMU went with it', () => !isAlive(killed.qemuPid));
    assert.ok(isAlive(pidIn(lab, 'wiped')));
    const next = await startIn(lab, group);
    assert.ok(!isAlive(pidIn(lab, 'wiped')), 'before QEMU is started');
    await stop(next);
    assert.deepEqual(group.below, []);
  },
);

test(
  'a QEMU is in the control group that qemu-trap was started in, and never in that of a hook',
  needsGroups,
  async (t) => {
    const lab = new Lab(t);
    const group = new Group(t, 2);
    for (const name of ['start', 'ready', 'end']) lab.hook(name, `#!/bin/sh\ngrep ^0: /proc/self/cgroup >${name}\n`);
    const trap = await startIn(lab, group);
    const ofQemu = read(`/proc/${trap.qemuPid}/cgroup`)
      .split('\n')
      .find((line) => line.startsWith('0:')) as string;
    await stop(trap);
    for (const name of ['start', 'ready', 'end'])
      assert.match(read(lab.file(name)), new RegExp(`^${ofQemu}/qemu-trap-[0-9a-f]+-\\d+\\n$`), name);
    assert.deepEqual(group.below, []);
  },
);

const hard: Readonly<Record<string, string>> = {
  'that ignores SIGTERM, forks, and exits at once, again and again': `
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    if os.fork(): os._exit(0)
    time.sleep(0.001)`,
  'whose first thread has ended': `
signal.signal(signal.SIGTERM, signal.SIG_IGN)
threading.Thread(target=time.sleep, args=(600,)).start()
ctypes.CDLL(None).pthread_exit(None)`,
};

for (const [what, python] of Object.entries(hard)) {
  test(`a process ${what}: killed, and its control group is gone`, needsGroups, async (t) => {
    const lab = new Lab(t);
    const group = new Group(t, 2);
    writeFileSync(lab.file('hard.py'), `import ctypes, os, signal, threading, time\n${python}\n`);
    lab.hook('SIGUSR1', '#!/bin/sh\nenv -i setsid python3 hard.py >/dev/null 2>&1 3<&- &\nsleep 0.3\n');
    const trap = await startIn(lab, group);
    trap.kill('SIGUSR1');
    await trap.event('hook-end');
    await until('only the group of the hook to come is left', () => group.below.length === 1);
    await stop(trap);
    assert.deepEqual(group.below, []);
  });
}

test('a QEMU that a hook moves into its own control group is moved back, and runs on', needsGroups, async (t) => {
  const lab = new Lab(t);
  const group = new Group(t, 2);
  lab.hook(
    'SIGUSR1',
    `#!/bin/sh
echo $QEMU_TRAP_QEMU_PID >/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/cgroup.procs
setsid sleep 600 >/dev/null 2>&1 3<&- &
echo $! >left
`,
  );
  const trap = await startIn(lab, group);
  const before = read(`/proc/${trap.qemuPid}/cgroup`);
  trap.kill('SIGUSR1');
  assert.equal((await trap.event('hook-end'))['outcome'], 'done');
  await until('what the hook left is ended', () => !isAlive(pidIn(lab, 'left')));
  await until('QEMU is back', () => read(`/proc/${trap.qemuPid}/cgroup`) === before);
  await stop(trap);
  assert.equal(lab.said('bye'), 1);
  assert.deepEqual(group.below, []);
});

test('--attach: what the hook of a killed qemu-trap left is ended by the next', needsGroups, async (t) => {
  const lab = new Lab(t);
  const group = new Group(t, 2);
  lab.hook('SIGUSR1', `#!/bin/sh\n${wiped('wiped')}\nsleep 600\n`);
  endAfter(t, lab, 'wiped');
  const socket = lab.file('q.sock');
  lab.spawn([...lab.guest(), '-qmp', `unix:${socket},server=on,wait=off`], { detached: true });
  await lab.guestSaid('up');
  const attached = (): Trap =>
    lab.start({
      command: [],
      options: ['--attach', socket, '--hooks', lab.hooks],
      through: group.through('exec "$@"'),
    });
  const killed = attached();
  await killed.ready();
  killed.kill('SIGUSR1');
  await isWritten(lab, 'wiped');
  await killed.die();
  const next = attached();
  await next.ready();
  await until('it is ended', () => !isAlive(pidIn(lab, 'wiped')));
  await stop(next);
  assert.deepEqual(group.below, []);
});
