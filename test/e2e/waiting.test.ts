import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { test } from 'node:test';
import { Lab, monitor, runState as status, type Trap, until } from '../support/lab.js';

const links = {
  'the bundled hook': [],
  'the button in process': ['--signal', 'TERM,monitorcommand=system_powerdown'],
} as const;

for (const [by, options] of Object.entries(links)) {
  test(`a paused guest is resumed, and hears the button (${by})`, async (t) => {
    const lab = new Lab(t);
    const trap = await lab.startGuest({ options });
    const { client, socket } = await monitor(lab);
    await client.execute('stop');
    assert.equal(await status(client), 'paused');
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
    assert.equal(lab.said('bye'), 1);
    socket.destroy();
  });

  test(`a QEMU that never ran its guest (-S) is told to quit at once, and nothing was lost (${by})`, async (t) => {
    const lab = new Lab(t);
    const trap = lab.start({ qemu: ['-S'], options });
    await until('the monitors are up', async () => (await monitor(lab)).socket.destroy());
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
    assert.equal(trap.verdict['cause'], 'never-ran');
    assert.equal(trap.events('hook-start').length, 0);
  });

  test(`a QEMU that stays after the guest's power-off (-no-shutdown) is told to quit at once (${by})`, async (t) => {
    const lab = new Lab(t);
    const trap = await lab.startGuest({ qemu: ['-no-shutdown'], options });
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
    assert.equal(lab.said('bye'), 1);
    assert.equal(trap.verdict['verdict'], 'clean');
  });

  test(`a guest that panicked goes to the default action at once (${by})`, async (t) => {
    const lab = new Lab(t);
    const trap = await lab.startGuest({
      qemu: [
        '-device',
        'pvpanic',
        '-action',
        'panic=pause',
        '-qtest',
        `unix:${lab.file('qtest')},server=on,wait=off`,
        '-qtest-log',
        'none',
      ],
      options,
    });
    const { client, socket } = await monitor(lab);
    const qtest = createConnection(lab.file('qtest'));
    // pvpanic's port: bit 0 says that the guest has panicked.
    qtest.write('outb 0x505 0x1\n');
    await until('the guest has panicked', async () => (await status(client)) === 'guest-panicked');
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 124);
    assert.equal(trap.verdict['cause'], 'panicked');
    socket.destroy();
    qtest.destroy();
  });
}

for (const [by, options] of Object.entries(links)) {
  test(`a guest that sleeps is woken, and hears the button (${by})`, async (t) => {
    const lab = new Lab(t);
    const trap = await lab.startGuest({ temper: 'sleeping', options: [...options, '--press', '0.5'] });
    const { client, socket } = await monitor(lab);
    await until('the guest sleeps', async () => (await status(client)) === 'suspended');
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
    assert.equal(lab.said('bye'), 1);
    socket.destroy();
  });

  test(`a guest that was stopped by an I/O error is made to go on, and the button is pressed (${by})`, async (t) => {
    const lab = new Lab(t);
    lab.guest();
    const trap = lab.start({
      command: [
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
        `if=none,id=disk,format=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename=${lab.file('obedient.img')},file.inject-error.0.event=read_aio,file.inject-error.0.once=on,file.inject-error.0.errno=5`,
        // With a geometry of its own, or QEMU itself would read the disk, and the error, before the guest does.
        '-device',
        'ide-hd,drive=disk,rerror=stop,cyls=16,heads=16,secs=63',
      ],
      options: [...options, '--press', '0.5'],
    });
    await trap.event('start');
    const { client, socket } = await until('the monitor answers', () => monitor(lab));
    await until('the guest stands still', async () => (await status(client)) === 'io-error');
    assert.equal(lab.said('up'), 0);
    trap.kill('SIGTERM');
    // Not its goodbye: of fifty reads that QEMU takes up again, one leaves the firmware waiting for ever, with and
    // without qemu-trap.
    await until('the guest goes on', async () => lab.said('bye') === 1 || (await status(client)) === 'running');
    await trap.event('powerdown');
    trap.kill('SIGQUIT');
    assert.ok([0, 124].includes(await trap.status()));
    socket.destroy();
  });
}

test('a QEMU that stayed after a power-off of the guest goes at the signal, clean', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest({ qemu: ['-no-shutdown'] });
  const { client, socket } = await monitor(lab);
  await client.execute('system_powerdown');
  await until('the guest is off', async () => (await status(client)) === 'shutdown');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(trap.verdict['cause'], 'powered-off');
  assert.equal(trap.verdict['verdict'], 'clean');
  socket.destroy();
});

test('an incoming migration that has not come: quit at once', async (t) => {
  const lab = new Lab(t);
  const trap = lab.start({ qemu: ['-incoming', 'defer'] });
  await until('the monitors are up', async () => (await monitor(lab)).socket.destroy());
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(trap.verdict['cause'], 'incoming');
});

test('a guest that has gone elsewhere by migration is not resumed here', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest();
  const { client, socket } = await monitor(lab);
  await client.execute('migrate', { uri: `exec:cat >${lab.file('written')}` });
  await until('it is migrated', async () => (await status(client)) === 'postmigrate');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(trap.verdict['cause'], 'migrated');
  assert.equal(lab.said('pressed'), 0);
  socket.destroy();
});

const migrates = `#!/bin/sh
qmp migrate '{"uri":"exec:cat >written.part"}'
until qmp query-migrate | grep -q '"completed"'; do sleep 0.05; done
until [ -e go ]; do sleep 0.05; done
`;

/** A guest whose hook of SIGTERM migrates it into a file, and then does `more`, to its end. */
async function stopWhileMigrated(lab: Lab, more: string): Promise<Trap> {
  lab.hook('SIGTERM', `${migrates}${more}\n`);
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks] });
  const { client, socket } = await monitor(lab);
  trap.kill('SIGTERM');
  await until('it is migrated', async () => (await status(client)) === 'postmigrate');
  // Whatever was to come of it has come when this is answered, and what follows it.
  await client.execute('query-version');
  writeFileSync(lab.file('go'), '');
  assert.equal(await trap.status(), 0);
  socket.destroy();
  return trap;
}

test('a hook that migrates its guest into a file may finish its work before QEMU is told to quit', async (t) => {
  const lab = new Lab(t);
  const trap = await stopWhileMigrated(lab, 'mv written.part written');
  assert.ok(existsSync(lab.file('written')), 'the hook was not ended before it was done');
  assert.deepEqual([trap.verdict['end'], trap.verdict['cause']], ['migrated', 'migrated']);
});

test('a hook that migrates its guest into a file, as a backup, may let it go on and shut it down', async (t) => {
  const lab = new Lab(t);
  const trap = await stopWhileMigrated(lab, 'qmp cont\nqmp system_powerdown');
  assert.equal(lab.said('bye'), 1);
  assert.deepEqual([trap.verdict['end'], trap.verdict['cut_off']], ['guest-shutdown', false]);
});

for (const [by, options, hook] of [
  ['the bundled hook', [], null],
  ['the button in process', ['--signal', 'TERM,monitorcommand=system_powerdown'], null],
  ['a hook that presses once', [], '#!/bin/sh\nqmp system_powerdown\n'],
] as const) {
  test(`a guest that reboots instead of going is pressed again when it is back (${by})`, async (t) => {
    const lab = new Lab(t);
    if (hook) lab.hook('SIGTERM', hook);
    const trap = await lab.startGuest({
      temper: 'rebooting',
      options: [...options, '--hooks', lab.hooks, '--press', '0.7'],
    });
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
    assert.equal(lab.said('up'), 2);
    assert.equal(lab.said('bye'), 1);
  });
}

test('-no-reboot: a guest that resets ends QEMU, clean', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest({ temper: 'rebooting', qemu: ['-no-reboot'] });
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(trap.verdict['reason'], 'guest-reset');
  assert.equal(trap.verdict['verdict'], 'clean');
});

test("QEMU gone while a hook runs: the hook is ended, and the status is QEMU's", async (t) => {
  const lab = new Lab(t);
  lab.hook('SIGTERM', '#!/bin/sh\ntrap "" TERM\nqmp system_powerdown\nwhile :; do sleep 1; done\n');
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks] });
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  await lab.assertNothingLeft();
});

test('press once: a guest that was pressed by a hook that then failed is not pressed twice', async (t) => {
  const lab = new Lab(t);
  lab.hook('SIGTERM', '#!/bin/sh\nqmp system_powerdown\nexit 1\n');
  const trap = await lab.startGuest({ temper: 'lingering', options: ['--hooks', lab.hooks, '--press', 'once'] });
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(trap.events('powerdown').length, 1);
});

for (const [press, times] of [
  ['10', 2],
  ['once', 1],
] as const) {
  test(`--press ${press}: a hook that has pressed and ended well: ${times === 1 ? 'no second press' : 'one press more'} in the reserve`, async (t) => {
    const lab = new Lab(t);
    lab.hook('SIGTERM', '#!/bin/sh\nqmp system_powerdown\n');
    const trap = await lab.startGuest({
      temper: 'stubborn',
      options: ['--hooks', lab.hooks, '--timeout', '2', '--press', press],
    });
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 124);
    assert.equal(trap.events('powerdown').length, times);
  });
}

test('human monitor commands with arguments, their output logged, an error text a failure', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest({
    options: [
      '--signal',
      'USR1,monitorcommand=info name',
      '--signal',
      'USR2,monitorcommand=savevm before-stop',
      '--signal',
      'XCPU,monitorcommand=loadvm no-such',
      '--signal',
      'ALRM,monitorcommand=no_such_thing',
      '--signal',
      'VTALRM,monitorcommand=query-name',
    ],
    qemu: ['-name', 'web'],
  });
  for (const [signal, ok, output] of [
    ['SIGUSR1', true, /^web$/],
    ['SIGUSR2', true, /^$/],
    ['SIGXCPU', false, /^Error: /],
    ['SIGALRM', false, /^unknown command: 'no_such_thing'/],
    ['SIGVTALRM', true, /^\{"name":"web"\}$/],
  ] as const) {
    trap.kill(signal);
    const done = await until(`${signal} is done`, () =>
      trap.events('command').find((line) => line['signal'] === signal),
    );
    assert.equal(done['ok'], ok);
    assert.match(String(done['output']), output);
  }
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
});
