import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { holdsLock } from '../../src/status/lock-holder.js';
import { isAlive, kill, Lab, program, read, until } from '../support/lab.js';

/*
 * One qemu-trap at a time serves a VM, whatever namespace the next one is started in, and whoever was killed.
 */

const busy = /another qemu-trap( \(pid \d+\))? is serving it already/;
const isRoot = process.geteuid?.() === 0;
const inPidNamespace = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc'];
const noNamespaces = {
  skip: spawnSync('unshare', [...inPidNamespace.slice(1), 'true']).status === 0 ? false : 'no pid namespace here',
};
const notRoot = { skip: isRoot ? false : 'only root can become another user' };

/** A PATH on which all that the tests need is, but for `program`. */
function pathWithout(lab: Lab, program: string): string {
  const bin = lab.file('bin');
  mkdirSync(bin);
  for (const directory of (process.env['PATH'] ?? '').split(':')) {
    if (!existsSync(directory)) continue;
    for (const name of readdirSync(directory))
      if (name !== program && !existsSync(join(bin, name))) symlinkSync(join(directory, name), join(bin, name));
  }
  return bin;
}

test(
  'two pid namespaces, one run directory: the second is refused, and the first serves on',
  noNamespaces,
  async (t) => {
    const lab = new Lab(t);
    const first = await lab.startGuest({ through: inPidNamespace });
    const second = lab.start({ through: inPidNamespace, log: 'text' });
    assert.equal(await second.status(), 125);
    assert.match(
      second.stderr,
      /^qemu-trap: run directory \S+: another qemu-trap( \(pid \d+\))? is serving it already[^\n]*\n$/,
    );
    assert.equal(lab.said('up'), 1);
    const inside = await until('qemu-trap runs in there', () =>
      lab.left().find((pid) => read(`/proc/${pid}/comm`) === 'qemu-trap\n'),
    );
    process.kill(inside, 'SIGTERM');
    assert.equal(await first.status(), 0);
    assert.equal(lab.said('bye'), 1);
  },
);

test(
  'negative control: without flock(1) a line says that the lock does not hold there, and it does not',
  noNamespaces,
  async (t) => {
    const lab = new Lab(t);
    const env = { PATH: pathWithout(lab, 'flock') };
    const command = ['sh', '-c', `echo served >>${lab.file('served')}; sleep 600`];
    const first = lab.start({ through: inPidNamespace, env, command });
    await first.event('weak-lock');
    await until('it serves', () => read(lab.file('served')) === 'served\n');
    lab.start({ through: inPidNamespace, env, command });
    await until('so does the second', () => read(lab.file('served')) === 'served\nserved\n');
    // In one namespace it holds as before.
    const other = new Lab(t);
    const third = await other.startGuest({ env });
    assert.ok(holdsLock(third.pid, other.runDir, third.qemuPid), '--stop believes it');
    assert.ok(!holdsLock(third.pid, other.runDir, process.pid), 'but not above another QEMU');
    const fourth = other.start({ env, log: 'text' });
    assert.equal(await fourth.status(), 125);
    assert.match(fourth.stderr, busy);
    third.kill('SIGTERM');
    assert.equal(await third.status(), 0);
    await other.assertNothingLeft();
  },
);

test('the first is still in its hook start: the second is refused, and its start does not run', async (t) => {
  const lab = new Lab(t);
  lab.hook(
    'start',
    `#!/bin/sh\necho $QEMU_TRAP_PID >>${lab.file('starting')}\nuntil [ -e ${lab.file('go')} ]; do sleep 0.05; done\n`,
  );
  const options = ['--hooks', lab.hooks];
  const first = lab.start({ options });
  await until('its start runs', () => read(lab.file('starting')) !== '');
  const second = lab.start({ options, log: 'text' });
  assert.equal(await second.status(), 125);
  assert.match(second.stderr, busy);
  assert.equal(read(lab.file('starting')), `${first.pid}\n`);
  writeFileSync(lab.file('go'), '');
  await first.ready();
  first.kill('SIGTERM');
  assert.equal(await first.status(), 0);
  await lab.assertNothingLeft();
});

test('a holder that was killed holds nothing, and no child of it does', async (t) => {
  const lab = new Lab(t);
  lab.hook('SIGUSR1', `#!/bin/sh\necho $$ >${lab.file('pid')}\nexec sleep 600\n`);
  const first = await lab.startGuest({ options: ['--hooks', lab.hooks] });
  first.kill('SIGUSR1');
  const hook = await until('its hook runs', () => Number(read(lab.file('pid'))) || null);
  await first.die();
  assert.ok(isAlive(hook), 'what it started lives, at first');
  const next = await lab.startGuest({ options: ['--hooks', lab.hooks] });
  next.kill('SIGTERM');
  assert.equal(await next.status(), 0);
  await lab.assertNothingLeft();
});

test(
  "a container that gives the same pid again: the new one's own start is not ended as the dead one's hook",
  noNamespaces,
  async (t) => {
    const lab = new Lab(t);
    const left = lab.file('left');
    lab.hook(
      'start',
      `#!/bin/sh\n! grep '^State:.[^Z]' "/proc/$(cat ${left})/status" 2>/dev/null || exit 1\nsleep 0.5\n`,
    );
    lab.hook('end', '#!/bin/sh\nexit 0\n');
    mkdirSync(lab.runDir, { mode: 0o700 });
    // In a new pid namespace qemu-trap is process 1, as the dead one was; what that one's hook has left is there.
    writeFileSync(join(lab.runDir, 'lock'), '1 1');
    const leave = `QEMU_TRAP_PID=1 QEMU_TRAP_RUN_DIR=${lab.runDir} sleep 600 & echo $! >${left}; exec "$@"`;
    const trap = lab.start({ through: [...inPidNamespace, 'sh', '-c', leave, 'sh'], options: ['--hooks', lab.hooks] });
    await trap.ready();
    assert.equal(trap.events('hook-end')[0]?.['outcome'], 'done');
    const inside = lab.left().find((pid) => read(`/proc/${pid}/comm`) === 'qemu-trap\n') as number;
    process.kill(inside, 'SIGTERM');
    assert.equal(await trap.status(), 0, trap.stderr);
  },
);

/** As another user, who has no XDG_RUNTIME_DIR. */
function asNobody(variables: readonly string[]): string[] {
  return [
    'setpriv',
    '--reuid=65534',
    '--regid=65534',
    '--clear-groups',
    'env',
    '-u',
    'XDG_RUNTIME_DIR',
    '-u',
    'RUNTIME_DIRECTORY',
    ...variables,
  ];
}

test(
  'no XDG_RUNTIME_DIR: one qemu-trap for each name of a VM, and what a killed one has left is found',
  notRoot,
  async (t) => {
    for (const [variable, directory] of [
      ['HOME', 'home/.local/state/qemu-trap'],
      ['RUNTIME_DIRECTORY', 'home'],
    ] as const) {
      const lab = new Lab(t);
      chmodSync(lab.dir, 0o755);
      const home = lab.file('home');
      mkdirSync(home);
      chownSync(home, 65534, 65534);
      const program = lab.ownCopy();
      const command = [
        'sh',
        '-c',
        '"$@"; exit $?',
        'sh',
        ...lab.guest().map((word) => (word.startsWith('file:') ? `file:${home}/serial` : word)),
        '-name',
        'web',
      ];
      chmodSync(lab.file('obedient.img'), 0o644);
      const words = (own: readonly string[]): string[] => [
        ...asNobody([`HOME=${home}`, `${variable}=${home}`]),
        process.execPath,
        program,
        '--log',
        'json',
        ...own,
        '--',
        ...command,
      ];
      const start = (own: readonly string[] = []): { stderr: () => string; child: ReturnType<Lab['spawn']> } => {
        const child = lab.spawn(words(own));
        let text = '';
        child.stderr?.on('data', (chunk) => (text += chunk));
        return { stderr: () => text, child };
      };
      const first = start();
      await until('the first is ready', () => first.stderr().includes('"event":"ready"'));
      const second = start();
      await until('the second is refused', () => second.child.exitCode === 125);
      assert.match(second.stderr(), /VM web: another qemu-trap \(pid \d+\) is serving it already/);
      assert.ok(existsSync(join(lab.dir, directory, 'web.lock')), `the lock is in ${directory}`);
      // A wrapper in front of QEMU keeps it alive; its directory has a name that nobody could guess.
      const qemu = lab.left().find((pid) => read(`/proc/${pid}/comm`).startsWith('qemu-system')) as number;
      await kill(first.child);
      const third = start();
      await until('the third serves the same QEMU', () => third.stderr().includes('"event":"takeover"')).catch(
        (error) => assert.fail(`${error.message}: ${third.stderr()}`),
      );
      assert.ok(isAlive(qemu));
      third.child.kill('SIGTERM');
      await until('it ends', () => third.child.exitCode !== null);
      assert.ok(!isAlive(qemu));
      await until('nothing is left', () => lab.left().length === 0);
    }
  },
);

test('a lock file that is not ours, or a link, is not used, and no way in', notRoot, async (t) => {
  const lab = new Lab(t);
  const target = lab.file('target');
  writeFileSync(target, 'mine');
  symlinkSync(target, `${lab.runDir}.lock`);
  for (const prepare of [
    () => undefined,
    () => (
      rmSync(`${lab.runDir}.lock`),
      writeFileSync(`${lab.runDir}.lock`, ''),
      chownSync(`${lab.runDir}.lock`, 65534, 65534)
    ),
  ]) {
    prepare();
    const first = await lab.startGuest();
    assert.equal(first.events('weak-lock').length, 0, 'the directory itself is locked');
    const second = lab.start({ log: 'text' });
    assert.equal(await second.status(), 125);
    assert.match(second.stderr, busy);
    first.kill('SIGTERM');
    assert.equal(await first.status(), 0);
    await lab.assertNothingLeft();
    rmSync(lab.serial);
  }
  assert.equal(read(target), 'mine');
});

const oldVersion = '6d85a83';
const hasOld = {
  skip:
    spawnSync('git', ['cat-file', '-e', `${oldVersion}^{commit}`]).status === 0
      ? false
      : 'no commit of version 0.1.0 in this checkout',
};

/** Version 0.1.0, built from git. */
function buildOld(t: { after(undo: () => void): void }): string {
  const dir = mkdtempSync(join(tmpdir(), 'qemu-trap-old-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  execFileSync('sh', ['-c', `git archive ${oldVersion} | tar -x -C '${dir}'`]);
  symlinkSync(resolve('node_modules'), join(dir, 'node_modules'));
  execFileSync(
    resolve('node_modules/.bin/esbuild'),
    [
      'qemu-trap=src/cli.ts',
      '--bundle',
      '--platform=node',
      '--target=node18',
      '--format=cjs',
      '--log-level=error',
      '--outdir=dist',
      '--out-extension:.js=.cjs',
    ],
    { cwd: dir },
  );
  return join(dir, 'dist/qemu-trap.cjs');
}

test(
  'an upgrade while a VM of version 0.1.0 runs: it is not started twice, and taken over once that one was killed',
  hasOld,
  async (t) => {
    const lab = new Lab(t);
    const built = buildOld(t);
    const old = await lab.startGuest({ program: built, options: ['--on-death', 'keep'] });
    const early = lab.start({ log: 'text' });
    assert.equal(await early.status(), 125);
    assert.match(early.stderr, new RegExp(`another qemu-trap \\(pid ${old.pid}\\) is serving it already`));
    assert.equal(lab.said('up'), 1);
    // Its lock is an old one, and it can be stopped all the same.
    const another = new Lab(t);
    const stoppable = await another.startGuest({ program: built });
    const stop = spawnSync(process.execPath, [program, '--stop', '--all', '--run-dir', another.runDir], {
      encoding: 'utf8',
    });
    assert.equal(stop.status, 0, stop.stdout + stop.stderr);
    assert.equal(await stoppable.status(), 0);
    assert.equal(another.said('bye'), 1);
    const { qemuPid } = old;
    await old.die();
    const next = lab.start();
    await next.ready();
    assert.equal(next.events('takeover')[0]?.['pid'], qemuPid);
    next.kill('SIGTERM');
    assert.equal(await next.status(), 0);
    assert.equal(lab.said('bye'), 1);
    await lab.assertNothingLeft();
  },
);
