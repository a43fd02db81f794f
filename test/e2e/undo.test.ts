import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { Lab, program, read } from '../support/lab.js';

/*
 * What fails between the lock and QEMU's start is undone: one line, and nothing is left but the file beside the run directory
 * that is locked, which is never removed, and held by nobody.
 */

const isRoot = process.geteuid?.() === 0;
const notRoot = isRoot ? false : 'only root can mount, and become another user';

/** In a shell that has closed all but its stdio: what runs the tests may have left any number open. */
const closing = 'for fd in /proc/$$/fd/*; do fd=${fd##*/}; [ "$fd" -le 2 ] || eval "exec $fd>&-"; done';

function run(
  lab: Lab,
  setUp: string,
  env: NodeJS.ProcessEnv = {},
  command: readonly string[] = ['true'],
): { status: number | null; stderr: string } {
  const { status, stderr } = spawnSync(
    'bash',
    [
      '-c',
      `${closing}; ${setUp}; exec "$@"`,
      'bash',
      process.execPath,
      program,
      '--run-dir',
      lab.file('run/a/b'),
      '--state-dir',
      lab.file('state'),
      '--',
      ...command,
    ],
    {
      encoding: 'utf8',
      env: { ...process.env, QEMU_TRAP_HOOKS: '', ...env },
    },
  );
  return { status, stderr };
}

const oneLine = /^qemu-trap: [^\n]+\n$/;

for (const error of ['ENOSPC', 'EIO', 'EMFILE', 'EACCES'] as const) {
  test(`every call on the run directory fails once with ${error}: one line, and nothing is left`, (t) => {
    const lab = new Lab(t);
    const failed = new Set<string>();
    for (let at = 1; ; at++) {
      const { status, stderr } = run(
        lab,
        ':',
        {
          LD_PRELOAD: resolve('.cache/fail.so'),
          FAIL_PATH: lab.file('run'),
          FAIL_AT: String(at),
          FAIL_ERRNO: String(constants.errno[error]),
          FAIL_LOG: lab.file('failed'),
          // One that has gone already has no identity to write down, and each run is to make the same calls.
        },
        ['sh', '-c', 'sleep 0.3'],
      );
      const call = read(lab.file('failed')).trim();
      if (call === '') {
        assert.equal(status, 0, stderr);
        break;
      }
      failed.add(call.replace(/ .*\//, ' ').replace(/\d+$/, 'PID'));
      writeFileSync(lab.file('failed'), '');
      assert.ok(status === 125 || status === 0, `${call}: ${status}: ${stderr}`);
      if (status === 125) assert.match(stderr, oneLine, call);
      assert.doesNotMatch(stderr, /internal error/, call);
      if (status === 125) assert.match(stderr, new RegExp(`\\(${error}\\): `), call);
      assert.ok(!existsSync(lab.file('run/a/b')), call);
      rmSync(lab.file('run'), { recursive: true, force: true });
    }
    for (const call of [
      'mkdir run',
      'mkdir a',
      'mkdir b',
      'open b.lock',
      'write b.lock',
      'open lock',
      'write lock',
      'open monitors.cfg',
      'write monitors.cfg',
      'open qemu.id',
      'write qemu.id',
      'open qemu.pid',
      'write qemu.pid',
    ])
      assert.ok(failed.has(call), `${call} was failed: ${[...failed]}`);
  });
}

test('with any limit on descriptors it runs, or says in one line that the limit is too low', (t) => {
  const lab = new Lab(t);
  const outcomes = new Set<number | null>();
  // Below some twenty Node itself does not start, or cannot read the program's first file.
  for (let limit = 18; limit < 40; limit++) {
    const { status, stderr } = run(lab, `ulimit -n ${limit}`);
    if (status !== 0 && !/^qemu-trap: /m.test(stderr)) continue;
    outcomes.add(status);
    assert.ok(status === 0 || status === 125, `${limit}: ${status}: ${stderr}`);
    assert.doesNotMatch(stderr, /internal error|at .*\.cjs/);
    if (status === 125)
      assert.match(
        stderr
          .split('\n')
          .filter((line) => !line.includes('how this run ended cannot be kept'))
          .join('\n'),
        /^qemu-trap: [^\n]*E[MN]FILE[^\n]*ulimit -n[^\n]*\n$/,
      );
    assert.ok(!existsSync(lab.file('run/a/b')), `${limit}`);
  }
  assert.deepEqual([...outcomes].sort(), [0, 125]);
});

test('a full disk: one line, and nothing is left', { skip: notRoot }, (t) => {
  const lab = new Lab(t);
  mkdirSync(lab.file('full'));
  const script = `mount -t tmpfs -o size=16k,nr_inodes=100 tmpfs '${lab.file('full')}'; dd if=/dev/zero of='${lab.file('full/all')}' 2>/dev/null
    "$@"; echo "status $?"; ls '${lab.file('full')}'`;
  const words = [
    process.execPath,
    program,
    '--run-dir',
    lab.file('full/run'),
    '--state-dir',
    lab.file('state'),
    '--',
    'true',
  ];
  const { stdout, stderr } = spawnSync('unshare', ['--mount', 'bash', '--norc', '-c', script, 'bash', ...words], {
    encoding: 'utf8',
    env: { ...process.env, QEMU_TRAP_HOOKS: '' },
  });
  assert.match(stderr, /^qemu-trap: [^\n]*\(ENOSPC\): free some space[^\n]*\n$/);
  assert.equal(stdout, 'status 125\nall\nrun.lock\n');
});

for (const umask of ['0777', '0277', '0000']) {
  test(`umask ${umask}, as another user: the VM runs with its hooks, and what QEMU makes has the mode that the user asked for`, {
    skip: notRoot,
  }, async (t) => {
    const lab = new Lab(t);
    chmodSync(lab.dir, 0o755);
    mkdirSync(lab.file('theirs'));
    chownSync(lab.file('theirs'), 65534, 65534);
    const theirs = (name: string): string => lab.file(`theirs/${name}`);
    lab.hook('SIGUSR1', '#!/bin/sh\nqmp query-status && umask\n');
    const image = lab.guest().map((word) => (word.startsWith('file:') ? `file:${theirs('serial')}` : word));
    chmodSync(lab.file('obedient.img'), 0o644);
    const trap = lab.start({
      program: lab.ownCopy(),
      command: image,
      through: [
        'setpriv',
        '--reuid=65534',
        '--regid=65534',
        '--clear-groups',
        'sh',
        '-c',
        `umask ${umask}; exec "$@"`,
        'sh',
      ],
      options: ['--hooks', lab.hooks, '--run-dir', theirs('run/a/b'), '--state-dir', theirs('state')],
    });
    await trap.ready();
    // Without the rights that the owner has anyway.
    assert.equal(statSync(theirs('serial')).mode & 0o777, 0o666 & ~(Number.parseInt(umask, 8) & 0o077));
    trap.kill('SIGUSR1');
    assert.match((await trap.event('hook-output')).message, /running/);
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0, trap.stderr);
    assert.ok(!existsSync(theirs('run/a/b')));
    execFileSync('chmod', ['-R', 'u+rwX', lab.file('theirs')]);
  });
}
