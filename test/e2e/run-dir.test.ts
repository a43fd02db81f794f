import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  mkdirSync,
  readdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Lab, read, until } from '../support/lab.js';

const notRoot = process.geteuid?.() === 0 ? false : 'only root can make files of others';
const nobody = 65534;

test('a dead lock is taken over by one of those who want it', async (t) => {
  for (let round = 0; round < 5; round++) {
    const lab = new Lab(t);
    mkdirSync(lab.runDir);
    // Of a process that cannot be: pids end at 2^22 (proc(5)).
    writeFileSync(join(lab.runDir, 'lock'), '4194305 1');
    const command = [
      'sh',
      '-c',
      `echo served >>${lab.file('served')}; until [ -e ${lab.file('enough')} ]; do sleep 0.05; done`,
    ];
    const traps = Array.from({ length: 8 }, () => lab.start({ command }));
    await until(
      'all but one have ended',
      () => traps.filter(({ child }) => child.exitCode === 125).length === traps.length - 1,
    );
    const refused = traps.filter(({ child }) => child.exitCode === 125);
    // Their last words may come after their ends.
    await Promise.all(refused.map(({ exited }) => exited));
    for (const trap of refused)
      assert.match(trap.stderr, /another qemu-trap( \(pid \d+\))? is serving it already|its lock keeps changing hands/);
    await until('the last one serves', () => read(lab.file('served')) !== '');
    assert.equal(read(lab.file('served')), 'served\n');
    assert.deepEqual(
      readdirSync(lab.runDir).filter((name) => name.startsWith('lock')),
      ['lock'],
    );
    writeFileSync(lab.file('enough'), '');
    await Promise.all(traps.map(({ exited }) => exited));
    await lab.assertNothingLeft();
  }
});

test('what a killed qemu-trap has left is removed with the directory; what is not its own stays', async (t) => {
  const lab = new Lab(t);
  mkdirSync(lab.runDir);
  for (const name of ['hook-SIGUSR1.sock', 'control.sock', 'qmp.sock', 'monitors.cfg', 'output-3', 'frozen'])
    writeFileSync(join(lab.runDir, name), '');
  writeFileSync(join(lab.runDir, 'lock'), '4194305 1');
  writeFileSync(join(lab.runDir, 'serial.log'), 'mine');
  const trap = await lab.startGuest();
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.deepEqual(readdirSync(lab.runDir), ['serial.log']);
});

test('a run directory that others could put another in place of is refused, in one line that fixes it', {
  skip: notRoot,
}, async (t) => {
  const lab = new Lab(t);
  mkdirSync(lab.file('theirs'));
  chownSync(lab.file('theirs'), nobody, nobody);
  mkdirSync(lab.file('open'));
  chmodSync(lab.file('open'), 0o777);
  mkdirSync(lab.file('target'));
  symlinkSync('target', lab.file('link'));
  mkdirSync(lab.file('shared'));
  chmodSync(lab.file('shared'), 0o1777);
  symlinkSync('../target', lab.file('shared/link'));
  for (const [way, says] of [
    ['theirs', /\/theirs on the way to it belongs to user 65534/],
    ['open', /\/open on the way to it is writable by everyone \(fix: chmod go-w /],
    ['link', /\/link on the way to it belongs to user 65534/],
    ['shared/link', /\/shared\/link on the way to it belongs to user 65534/],
  ] as const) {
    if (way.endsWith('link')) lchownSync(lab.file(way), nobody, nobody);
    const trap = lab.start({ command: ['true'], options: ['--run-dir', lab.file(`${way}/run`)], log: 'text' });
    assert.equal(await trap.status(), 125);
    assert.match(trap.stderr, /^qemu-trap: run directory [^\n]+\n$/);
    assert.match(trap.stderr, says);
    assert.ok(!existsSync(lab.file(`${way}/run`)));
  }
  mkdirSync(lab.file('grouped'));
  chownSync(lab.file('grouped'), 0, nobody);
  chmodSync(lab.file('grouped'), 0o2770);
  const grouped = lab.start({ command: ['true'], options: ['--run-dir', lab.file('grouped')], log: 'text' });
  assert.equal(await grouped.status(), 125);
  assert.match(grouped.stderr, /it is writable by group 65534 \(fix: chmod g-w /);
  for (const way of ['target', 'shared']) {
    const trap = lab.start({ command: ['true'], options: ['--run-dir', lab.file(`${way}/run`)] });
    assert.equal(await trap.status(), 0, trap.stderr);
  }
});

test("the run directory and its sockets are the owner's alone, whatever the umask", async (t) => {
  for (const umask of ['000', '022', '777']) {
    const lab = new Lab(t);
    const trap = await lab
      .startGuest({ through: ['sh', '-c', `umask ${umask}; exec "$@"`, 'sh'], options: ['--run-dir', lab.runDir] })
      .catch((error) => {
        throw new Error(`umask ${umask}: ${error.message}`);
      });
    assert.equal(statSync(lab.runDir).mode & 0o7777, 0o700);
    assert.ok(readdirSync(lab.runDir).includes('qmp.sock'));
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
    await lab.assertNothingLeft();
  }
});
