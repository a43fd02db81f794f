import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, copyFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { bootSector } from '../../src/commands/try/guest.js';
import { isAlive, Lab, monitor, program, read, until, type StartOptions, type Trap } from '../support/lab.js';

/*
 * What people put in front of QEMU, each the real thing: which process is QEMU is seen, and that one is killed, kept
 * and taken over. No second one ever runs on its disk: QEMU itself locks that.
 */

const isRoot = process.geteuid?.() === 0;

/** Wrappers by what they are made of; the words of QEMU come after. */
const wrappers: Readonly<Record<string, readonly string[]>> = {
  none: [],
  'sh that waits': ['sh', '-c', '"$@"; exit $?', 'sh'],
  'setsid -f': ['setsid', '-f'],
  sudo: ['sudo', '-E'],
  firejail: ['firejail', '--noprofile', '--quiet'],
  'unshare --pid --fork': ['unshare', '--pid', '--fork'],
  'unshare -n': ['unshare', '-n'],
  'bwrap --unshare-pid': [
    'bwrap',
    '--bind',
    '/',
    '/',
    '--dev-bind',
    '/dev',
    '/dev',
    '--unshare-pid',
    '--proc',
    '/proc',
  ],
};

function missing(words: readonly string[]): string | false {
  return words.length === 0 ||
    spawnSync(words[0] as string, [...words.slice(1), 'true'], { timeout: 20_000 }).status === 0
    ? false
    : `${words[0]} cannot be used here`;
}

/** A guest whose disk only one QEMU can have. */
function ownDisk(lab: Lab): string[] {
  const image = lab.file('disk.img');
  writeFileSync(image, bootSector('obedient'));
  return [
    'qemu-system-x86_64',
    '-M',
    'pc',
    '-m',
    '16',
    '-display',
    'none',
    '-net',
    'none',
    '-serial',
    `file:${lab.serial}`,
    '-drive',
    `file=${image},format=raw`,
  ];
}

/** The QEMUs of a test, and not what stands in front of them. */
function qemus(lab: Lab): number[] {
  return lab.left().filter((pid) => read(`/proc/${pid}/comm`).startsWith('qemu-system'));
}

function behind(lab: Lab, words: readonly string[], start: StartOptions = {}): Trap {
  return lab.start({ ...start, command: [...words, ...ownDisk(lab)] });
}

for (const [name, words] of Object.entries(wrappers)) {
  const options = { skip: missing(words) };

  test(`${name}: the guest hears its button, and what runs is QEMU by its own pid`, options, async (t) => {
    const lab = new Lab(t);
    const trap = behind(lab, words);
    await trap.ready();
    await lab.guestSaid('up');
    const [qemu] = qemus(lab);
    assert.equal(read(`${lab.runDir}/qemu.pid`), `${qemu}\n`);
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0, trap.stderr);
    assert.equal(lab.said('bye'), 1);
    assert.equal(trap.verdict['end'], 'guest-shutdown');
    await lab.assertNothingLeft();
  });

  test(`${name}: a QEMU that hangs is killed itself, and nothing is left`, options, async (t) => {
    const lab = new Lab(t);
    const trap = behind(lab, words, { options: ['--timeout', '1', '--kill-after', '1'] });
    await trap.ready();
    const [qemu] = qemus(lab) as [number];
    await lab.hang(qemu);
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 137, trap.stderr);
    assert.equal(trap.verdict['end'], 'kill');
    assert.ok(!isAlive(qemu));
    await lab.assertNothingLeft();
  });
}

const moments: readonly [when: string, reached: (trap: Trap) => Promise<unknown>][] = [
  ['as soon as QEMU is on its way', (trap) => trap.event('start')],
  [
    'when its monitors are there',
    (trap) =>
      until(
        'its socket is there',
        () =>
          read(`${trap.lab.runDir}/qemu.pid`) !== '' &&
          spawnSync('test', ['-S', `${trap.lab.runDir}/qmp.sock`]).status === 0,
      ),
  ],
  ['when the guest runs', (trap) => trap.ready()],
];

Object.entries(wrappers).forEach(([name, words], i) => {
  for (const onDeath of ['kill', 'keep'] as const) {
    // Each wrapper and each way of death meets two of the three moments.
    for (const shift of [0, 1]) {
      const [when, reached] = moments[
        (i + shift + (onDeath === 'keep' ? 1 : 0)) % moments.length
      ] as (typeof moments)[number];
      test(`${name}, --on-death ${onDeath}, killed ${when}: never two QEMUs on one disk, and none left`, {
        skip: missing(words),
      }, async (t) => {
        const lab = new Lab(t);
        const first = behind(lab, words, { options: ['--on-death', onDeath] });
        await reached(first);
        await first.die();
        const next = behind(lab, words, { options: ['--on-death', onDeath] });
        // A second QEMU would not get the lock of the disk, and fail.
        await next.ready();
        await lab.guestSaid('up');
        assert.equal(qemus(lab).length, 1, `${first.stderr}${next.stderr}`);
        next.kill('SIGTERM');
        assert.equal(await next.status(), 0, next.stderr);
        await lab.assertNothingLeft();
      });
    }
  }
});

test('a QEMU that will outlive us is told of at the start; one that exec put in the place of its wrapper is not', async (t) => {
  for (const [wrapper, tells] of [
    ['"$@"; exit $?', true],
    ['exec "$@"', false],
  ] as const) {
    const lab = new Lab(t);
    const trap = behind(lab, ['sh', '-c', wrapper, 'sh']);
    await trap.ready();
    await lab.guestSaid('up');
    assert.equal(trap.events('no-pdeathsig').length, tells ? 1 : 0, trap.stderr);
    if (tells)
      assert.match(
        trap.events('no-pdeathsig')[0]?.message ?? '',
        /QEMU may keep running if qemu-trap is killed[^\n]*have the wrapper exec QEMU/,
      );
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
  }
});

for (const [what, wrapper, isKilled] of [
  ['lives on after its QEMU, and ends by itself', `"$@"; sleep 0.5; echo over >>ENDED; exit $?`, false],
  ['lives on for good, with a child', '"$@"; sleep 600', true],
  ['starts QEMU again and again', 'while :; do "$@"; done', true],
] as const) {
  test(`a wrapper that ${what}: the words and the status are of QEMU, and nothing is left`, async (t) => {
    const lab = new Lab(t);
    const trap = behind(lab, ['sh', '-c', wrapper.replace('ENDED', lab.file('ended')), 'sh'], {
      options: ['--kill-after', isKilled ? '1' : '20'],
    });
    await trap.ready();
    await lab.guestSaid('up');
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0, trap.stderr);
    assert.equal(trap.verdict['end'], 'guest-shutdown');
    assert.doesNotMatch(trap.verdict.message, /SIGKILL/);
    assert.equal(trap.events('wrapper').length, isKilled ? 1 : 0);
    assert.equal(read(lab.file('ended')), isKilled ? '' : 'over\n');
    await lab.assertNothingLeft();
  });
}

test('a crash of a QEMU whose wrapper lives on is noticed at once', async (t) => {
  const lab = new Lab(t);
  const trap = behind(lab, ['sh', '-c', '"$@"; sleep 600', 'sh'], { options: ['--kill-after', '1'] });
  await trap.ready();
  process.kill(qemus(lab)[0] as number, 'SIGSEGV');
  assert.equal(await trap.status(), 125, trap.stderr);
  assert.equal(trap.verdict['end'], 'crash');
  await lab.assertNothingLeft();
});

test('a take-over behind a wrapper knows its command line again', async (t) => {
  const lab = new Lab(t);
  const first = behind(lab, ['sh', '-c', '"$@"; exit $?', 'sh']);
  await first.ready();
  await lab.guestSaid('up');
  await first.die();
  const next = behind(lab, ['sh', '-c', '"$@"; exit $?', 'sh']);
  await next.ready();
  assert.equal(next.events('takeover')[0]?.['other_command'], false);
  next.kill('SIGTERM');
  assert.equal(await next.status(), 0);
  await lab.assertNothingLeft();
});

for (const [name, words] of Object.entries(wrappers).filter(([each]) => each === 'sudo' || each === 'firejail')) {
  test(`${name} closes descriptors: QEMU is started once more, with a named control socket, and one line names it`, {
    skip: missing(words),
  }, async (t) => {
    const lab = new Lab(t);
    const trap = behind(lab, words);
    await trap.ready();
    assert.match(
      (await trap.event('wrapper')).message,
      new RegExp(`^${name} closes the descriptors that QEMU should inherit`),
    );
    assert.equal(trap.events('start').length, 2);
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
    await lab.assertNothingLeft();
  });
}

test('negative control: a wrapper that fails by itself is run once', async (t) => {
  const lab = new Lab(t);
  const trap = lab.start({ command: ['sh', '-c', `echo ran >>${lab.file('ran')}; exit 3`] });
  assert.equal(await trap.status(), 3);
  assert.equal(read(lab.file('ran')), 'ran\n');
  assert.equal(trap.events('wrapper').length, 0);
});

/** A script that starts QEMU with words of its own, and none of ours. */
function dropping(lab: Lab): string[] {
  const script = lab.file('vm.sh');
  writeFileSync(
    script,
    `#!/bin/sh\n${ownDisk(lab)
      .map((word) => `'${word}'`)
      .join(' ')}\n`,
    { mode: 0o755 },
  );
  return [script, 'qemu-system-x86_64'];
}

test('a script that drops "$@": the deadline kills its QEMU as well, and the guest counts as cut off', async (t) => {
  const lab = new Lab(t);
  const trap = lab.start({ command: dropping(lab), options: ['--timeout', '1', '--kill-after', '1'] });
  await lab.guestSaid('up');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 137);
  assert.equal(trap.verdict['end'], 'kill');
  assert.equal(trap.verdict['cut_off'], true);
  await lab.assertNothingLeft();
});

test('a script that drops "$@", and qemu-trap killed: the next start ends what is left, and starts its own', async (t) => {
  const lab = new Lab(t);
  const first = lab.start({ command: dropping(lab) });
  await lab.guestSaid('up');
  const [left] = qemus(lab) as [number];
  await first.die();
  assert.ok(isAlive(left));
  const next = behind(lab, []);
  await next.ready();
  assert.ok(!isAlive(left));
  assert.equal(qemus(lab).length, 1);
  next.kill('SIGTERM');
  assert.equal(await next.status(), 0);
  await lab.assertNothingLeft();
});

for (const words of [
  ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'],
  ['runuser', '-u', 'nobody', '--'],
]) {
  test(`${words[0]} in front of QEMU: one line names what to do instead`, {
    skip: isRoot ? false : 'only root can change the user',
  }, async (t) => {
    const lab = new Lab(t);
    const trap = behind(lab, words);
    assert.notEqual(await trap.status(), 0);
    const [line, ...more] = trap.events('wrapper');
    assert.match(line?.message ?? '', new RegExp(`^${words[0]}: [^\\n]*-runas USER`));
    assert.deepEqual(more, []);
    assert.equal(trap.events('start').length, 1);
    await lab.assertNothingLeft();
  });
}

const canSetCapabilities = isRoot && spawnSync('setcap', ['-h']).error === undefined;

test('a QEMU with file capabilities, as another user: it is found though its descriptors are hidden, and told to outlive us', {
  skip: canSetCapabilities ? false : 'no setcap here',
}, async (t) => {
  const lab = new Lab(t);
  chmodSync(lab.dir, 0o755);
  chownSync(lab.dir, 65534, 65534);
  const binary = lab.file('qemu-system-x86_64');
  copyFileSync(
    spawnSync('sh', ['-c', 'readlink -f "$(command -v qemu-system-x86_64)"'], { encoding: 'utf8' }).stdout.trim(),
    binary,
  );
  chmodSync(binary, 0o755);
  // Where it looks for its modules and its firmware (get_relocated_path() of QEMU).
  symlinkSync('/', lab.file('qemu-bundle'));
  assert.equal(spawnSync('setcap', ['cap_net_admin+ep', binary]).status, 0);
  const [, ...words] = ownDisk(lab);
  chmodSync(lab.file('disk.img'), 0o666);
  const through = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
  const trap = lab.start({
    through,
    program: lab.ownCopy(),
    command: ['sh', '-c', '"$@"; exit $?', 'sh', binary, ...words],
  });
  await trap.ready();
  const [qemu] = qemus(lab) as [number];
  assert.equal(trap.events('qemu-unknown').length, 0);
  assert.equal(read(`${lab.runDir}/qemu.pid`), `${qemu}\n`);
  assert.equal(trap.events('no-pdeathsig').length, 1);
  await lab.guestSaid('up');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  const direct = lab.start({ through, program: lab.ownCopy(), command: [binary, ...words] });
  await direct.ready();
  assert.match(direct.events('no-pdeathsig')[0]?.message ?? '', /privileges that qemu-trap does not have/);
  await lab.guestSaid('up');
  direct.kill('SIGTERM');
  assert.equal(await direct.status(), 0);
});

test('where /proc does not show which process is QEMU, one line says so', {
  skip: isRoot ? false : 'only root can mount',
}, async (t) => {
  const lab = new Lab(t);
  const trap = lab.start({
    through: ['unshare', '--mount', 'sh', '-c', 'mount -t tmpfs none /proc && exec "$@"', 'sh'],
    command: ['sh', '-c', '"$@"; exit $?', 'sh', ...ownDisk(lab)],
  });
  await trap.ready();
  assert.match((await trap.event('qemu-unknown')).message, /cannot tell which process is QEMU/);
  const { client, socket } = await monitor(lab);
  await client.execute('query-status');
  socket.destroy();
  await lab.guestSaid('up');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
});

test('--check: a command that is no QEMU, one that changes the user, and timeout', () => {
  for (const [words, says, status] of [
    [
      ['sh', '-c', 'exec "$@"', 'sh'],
      /note: QEMU's sh: it does not look like a QEMU; if it is a script, it must pass on all of its arguments/,
      0,
    ],
    [['timeout', '2'], /QEMU's timeout: qemu-trap blocks signals for it too/, 125],
    [
      ['runuser', '-u', 'nobody', '--'],
      /QEMU's runuser: it makes QEMU run as a user who cannot read the run directory/,
      125,
    ],
    [['ip', 'netns', 'exec', 'x', 'setpriv', '--reuid', 'kvm'], /QEMU's setpriv/, 125],
    [['setpriv', '--no-new-privs'], /note: QEMU's setpriv: it does not look like a QEMU/, 0],
    [[], /^(?![\s\S]*it does not look like a QEMU)/, 0],
  ] as const) {
    const { stdout, status: got } = spawnSync(
      process.execPath,
      [program, '--check', '--', ...words, 'qemu-system-x86_64', '-m', '16'],
      { encoding: 'utf8', env: { ...process.env, QEMU_TRAP_HOOKS: '' } },
    );
    assert.match(stdout, says);
    assert.equal(got, status, stdout);
  }
});
