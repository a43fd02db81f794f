import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, symlinkSync } from 'node:fs';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { Lab, read, until } from '../support/lab.js';

/** Says in a file that it ran. */
const note = (words: string, then = '') => `#!/bin/sh\necho "${words}" >>steps\n${then}`;

function steps(lab: Lab, files: Readonly<Record<string, string>>, directory = 'SIGTERM.d'): void {
  mkdirSync(`${lab.hooks}/${directory}`, { mode: 0o755 });
  for (const [name, text] of Object.entries(files)) lab.hook(`${directory}/${name}`, text);
}

test('the executables of SIGTERM.d run in lexical order, as run-parts would run them, each with a greeting of its own', async (t) => {
  const lab = new Lab(t);
  steps(lab, {
    '90-powerdown': note('90', 'exec qmp system_powerdown\n'),
    '10-notify': note('10 $1 $QEMU_TRAP_HOOK', 'read -r greeting <&3; case $greeting in *QMP*) ;; *) exit 1 ;; esac\n'),
    '20-drain': note('20', 'read -r greeting <&3; case $greeting in *QMP*) ;; *) exit 1 ;; esac\n'),
    '30-old.bak': note('bak'),
    '40-saved~': note('saved'),
    README: 'no hook\n',
  });
  chmodSync(`${lab.hooks}/SIGTERM.d/README`, 0o644);
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks] });
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(read(lab.file('steps')), `10 SIGTERM ${lab.hooks}/SIGTERM.d/10-notify\n20\n90\n`);
  assert.equal(trap.events('hook-start').length, 3);
  assert.equal(trap.events('next-link').length, 0);
  assert.equal(lab.said('pressed'), 1);
  await lab.assertNothingLeft();
});

test('a link to a bundled hook is a step as any other', async (t) => {
  const lab = new Lab(t);
  steps(lab, { '10-notify': note('10') }, 'term.d');
  symlinkSync(resolve('hooks/powerdown'), `${lab.hooks}/term.d/90-powerdown`);
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks] });
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(lab.said('pressed'), 1);
  assert.equal(trap.events('next-link').length, 0);
});

test('the first step that fails ends it, and the button is pressed all the same', async (t) => {
  const lab = new Lab(t);
  steps(lab, { '10-notify': note('10'), '20-drain': note('20', 'exit 3\n'), '90-after': note('90') });
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks] });
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(read(lab.file('steps')), '10\n20\n');
  assert.equal(trap.events('next-link')[0]?.['because'], 'hook-failed');
  assert.equal(lab.said('pressed'), 1);
});

test('75 from a step drops the signal, and the guest runs on', async (t) => {
  const lab = new Lab(t);
  steps(lab, {
    '10-ask': note('10', '[ -e ready ] || exit 75\n'),
    '90-powerdown': note('90', 'exec qmp system_powerdown\n'),
  });
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks] });
  trap.kill('SIGTERM');
  await trap.event('dropped');
  assert.equal(read(lab.file('steps')), '10\n');
  lab.hook('../ready', '');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(read(lab.file('steps')), '10\n10\n90\n');
});

test('all steps have one deadline: what has not run by the reserve does not, and a step that hangs is ended', async (t) => {
  const lab = new Lab(t);
  steps(lab, { '10-hangs': note('10', 'sleep 1000 & wait\n'), '20-never': note('20') });
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks, '--timeout', '4'] });
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(read(lab.file('steps')), '10\n');
  assert.equal(trap.events('next-link')[0]?.['because'], 'hook-timeout');
  await lab.assertNothingLeft();
});

test('what a step wrote and did not wait for is executed before what the next one writes', async (t) => {
  const lab = new Lab(t);
  steps(
    lab,
    {
      '10-stop': `#!/bin/sh\nprintf '%s\\n' '{"execute":"qmp_capabilities"}' '{"execute":"stop"}' >&3\n`,
      '20-look': '#!/bin/sh\nqmp query-status >>steps\n',
    },
    'USR1.d',
  );
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks] });
  for (let times = 1; times <= 5; times++) {
    trap.kill('SIGUSR1');
    await until('both steps have run', () => trap.events('hook-end').length === 2 * times);
    assert.equal(read(lab.file('steps')).split('"paused"').length - 1, times);
  }
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
});

test('a directory of nothing but a reset leaves the guest running', async (t) => {
  const lab = new Lab(t);
  steps(lab, {}, 'SIGHUP.d');
  symlinkSync(resolve('hooks/reset'), `${lab.hooks}/SIGHUP.d/50-reset`);
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks] });
  trap.kill('SIGHUP');
  await lab.guestSaid('up', 2);
  assert.equal(lab.said('pressed'), 0);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
});

const untrusted: readonly [string, (lab: Lab) => void, RegExp][] = [
  [
    'a directory that everybody can write',
    (lab) => chmodSync(`${lab.hooks}/SIGTERM.d`, 0o777),
    /chmod go-w \S+SIGTERM\.d/,
  ],
  ['a hooks directory that everybody can write', (lab) => chmodSync(lab.hooks, 0o777), /chmod go-w \S+hooks/],
  [
    'a step that everybody can write',
    (lab) => chmodSync(`${lab.hooks}/SIGTERM.d/10-notify`, 0o777),
    /chmod go-w \S+10-notify/,
  ],
  [
    'a step that is a link to nothing',
    (lab) => symlinkSync('nowhere', `${lab.hooks}/SIGTERM.d/00-lost`),
    /ln -sfn HOOK \S+00-lost/,
  ],
  [
    'a directory without an executable',
    (lab) => chmodSync(`${lab.hooks}/SIGTERM.d/10-notify`, 0o644),
    /chmod 755 \S+10-notify/,
  ],
];

for (const [what, spoil, mend] of untrusted) {
  test(`${what}: said at the start with its mend, nothing of it runs, and the button is pressed`, async (t) => {
    const lab = new Lab(t);
    steps(lab, { '10-notify': note('10') });
    spoil(lab);
    const trap = await lab.startGuest({ options: ['--hooks', lab.hooks] });
    assert.ok(
      trap.events('hook-fault').some(({ message }) => mend.test(message)),
      trap.stderr,
    );
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
    assert.equal(read(lab.file('steps')), '');
    assert.equal(lab.said('pressed'), 1);
  });
}

test('steps that are quicker than QEMU takes their monitors up wait for their turn', async (t) => {
  const lab = new Lab(t);
  mkdirSync(`${lab.hooks}/SIGUSR1.d`, { mode: 0o755 });
  const steps = 8;
  for (let step = 1; step <= steps; step++) lab.hook(`SIGUSR1.d/${step}-quick`, '#!/bin/sh\nexit 0\n');
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks] });
  process.kill(trap.qemuPid, 'SIGSTOP');
  trap.kill('SIGUSR1');
  await trap.event('hook-end', 3);
  process.kill(trap.qemuPid, 'SIGCONT');
  await trap.event('hook-end', steps);
  assert.deepEqual(
    trap.events('hook-end').filter(({ outcome }) => outcome !== 'done'),
    [],
  );
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
});
