import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Lab, until } from '../support/lab.js';
import { seeded } from '../support/seeded.js';
import { Debian, type Found } from './debian.js';

/*
 * What the project is for, on a whole Debian: its PostgreSQL is shut down, and no commit that it answered is missing.
 */

const shutDown = /^database system was shut down at [^;]*; $/;

/** Every commit that was answered is there, and no row between the first and the last is missing. */
function assertWhole(found: Found | undefined, answered: number): void {
  assert.ok(found !== undefined && found.last >= answered, `answered ${answered}, found ${found?.last}`);
  assert.equal(found.rows, found.last);
}

test('negative control: SIGTERM to a bare QEMU, and PostgreSQL has to recover', async (t) => {
  const lab = new Lab(t);
  const debian = new Debian(lab);
  const [command = '', ...args] = debian.command;
  const bare = lab.spawn([command, ...args], { stdio: 'ignore' });
  const exited = new Promise((resolve) => bare.on('exit', resolve));
  await debian.says('guest: up');
  await debian.commits(100);
  bare.kill('SIGTERM');
  assert.equal(await exited, 0);
  assert.equal(debian.needsRecovery(), true);

  const next = lab.start({ command: debian.command, options: ['--timeout', '300'] });
  await debian.says('guest: up', 2);
  assert.match(debian.found.at(-1)?.said ?? '', /was interrupted.*was not properly shut down/);
  next.kill('SIGTERM');
  assert.equal(await next.status(), 0);
});

test('twenty stops under load at random moments, boot included: PostgreSQL was shut down each time, and every commit that it answered is there', async (t) => {
  const seed = Number(process.env['QEMU_TRAP_TEST_SEED'] ?? 29) || 29;
  t.diagnostic(`seed ${seed} (QEMU_TRAP_TEST_SEED)`);
  const random = seeded(seed);
  const lab = new Lab(t);
  const debian = new Debian(lab);
  const moments: string[] = [];
  let upAfterMs = 0;
  for (let stop = 1; stop <= 20; stop++) {
    const before = debian.log.length;
    const trap = lab.start({ command: debian.command, options: ['--timeout', '300'] });
    await trap.event('start');
    const startedAt = performance.now();
    const says = (words: string): boolean => debian.log.slice(before).includes(words);
    if (stop === 1) {
      await debian.says('guest: up');
      upAfterMs = performance.now() - startedAt;
      await debian.commits(100);
    } else {
      await new Promise((resolve) => setTimeout(resolve, random() * 2 * upAfterMs));
    }
    moments.push(
      says('guest: up')
        ? 'load'
        : says('PostgreSQL')
          ? 'start of PostgreSQL'
          : debian.log.length > before
            ? 'start of systemd'
            : 'firmware or kernel',
    );
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0, `stop ${stop}, in: ${moments.at(-1)}`);
    assert.equal(trap.verdict['verdict'], 'clean');
    assert.equal(debian.needsRecovery(), false, `stop ${stop}, in: ${moments.at(-1)}`);
  }
  const last = lab.start({ command: debian.command, options: ['--timeout', '300'] });
  const answered = debian.answered;
  const starts = debian.found.length;
  await until('it has started once more', () => debian.found.length > starts, 600_000);
  assertWhole(debian.found.at(-1), answered);
  for (const { said, rows, last: number } of debian.found) {
    assert.match(said, shutDown);
    assert.equal(rows, number);
  }
  last.kill('SIGTERM');
  assert.equal(await last.status(), 0);
  const met = (moment: string): string => `${moment} ${moments.filter((each) => each === moment).length}`;
  t.diagnostic(`met the guest in: ${[...new Set(moments)].map(met).join(', ')}; up after ${Math.round(upAfterMs)} ms`);
  t.diagnostic(`${debian.found.length} starts of PostgreSQL, ${answered} commits`);
});

test('hibernated and resumed under load: PostgreSQL goes on, and is shut down at the end', async (t) => {
  const lab = new Lab(t);
  const debian = new Debian(lab);
  const save = ['--signal', 'USR1,script=save,default=none,timeout=300', '--timeout', '300'];
  let trap = lab.start({ command: debian.command, options: save });
  await debian.says('guest: up');
  for (let cycle = 1; cycle <= 3; cycle++) {
    await debian.commits(100);
    trap.kill('SIGUSR1');
    assert.equal(await trap.status(), 0, trap.stderr);
    const answered = debian.answered;
    trap = lab.start({ command: debian.command, options: save });
    await until('it goes on', () => debian.answered > answered, 600_000);
  }
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
  assert.equal(debian.said('guest: up'), 1);
  const answered = debian.answered;

  const next = lab.start({ command: debian.command, options: save });
  await debian.says('guest: up', 2);
  assert.match(debian.found.at(-1)?.said ?? '', shutDown);
  assertWhole(debian.found.at(-1), answered);
  next.kill('SIGTERM');
  assert.equal(await next.status(), 0);
});

test('frozen and thawed under load: the disk in between is one that needs no recovery, with every commit that was answered', async (t) => {
  const lab = new Lab(t);
  const debian = new Debian(lab);
  const options = [
    ...['--agent', debian.agent, '--timeout', '300'],
    ...['--signal', 'USR1,script=freeze,default=none,timeout=300', '--signal', 'USR2,script=thaw,default=none'],
  ];
  const trap = lab.start({ command: debian.command, options });
  await debian.says('guest: up');
  await debian.commits(100);
  const done = async (hook: string): Promise<void> => {
    await until(
      `${hook} is done`,
      () => trap.events('hook-end').some(({ hook: path }) => String(path).endsWith(hook)),
      120_000,
    );
  };
  trap.kill('SIGUSR1');
  await done('freeze');
  const answered = debian.answered;
  const snapshot = debian.snapshot('snapshot');
  assert.equal(debian.needsRecovery(snapshot), false);
  trap.kill('SIGUSR2');
  await done('thaw');
  await until('it goes on', () => debian.answered > answered, 600_000);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);

  debian.disk = snapshot;
  const next = lab.start({ command: debian.command, options });
  await debian.says('guest: up', 2);
  assert.match(debian.found.at(-1)?.said ?? '', /was interrupted/, 'PostgreSQL was running');
  assertWhole(debian.found.at(-1), answered);
  next.kill('SIGTERM');
  assert.equal(await next.status(), 0);
});
