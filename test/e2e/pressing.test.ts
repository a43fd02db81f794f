import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Lab, until, type Trap } from '../support/lab.js';

/*
 * From its first press on, pressing the power button is qemu-trap's, whoever pressed first.
 */

const short = ['--timeout', '6', '--kill-after', '2'];

/** A guest that hears nothing for its first three seconds, under a hook that presses at once and then hangs. */
async function pressedIntoFirmware(lab: Lab, ...options: string[]): Promise<Trap> {
  lab.hook('SIGTERM', '#!/bin/sh\nqmp system_powerdown\nexec sleep 600\n');
  const trap = lab.start({ temper: 'slow', options: ['--hooks', lab.hooks, ...short, ...options] });
  await trap.ready();
  trap.kill('SIGTERM');
  await trap.event('powerdown');
  assert.equal(lab.said('up'), 0, 'it was pressed too early');
  return trap;
}

test('a hook that presses once, into firmware, and hangs loses no guest', async (t) => {
  const lab = new Lab(t);
  const trap = await pressedIntoFirmware(lab);
  assert.equal(await trap.status(), 0, trap.stderr);
  assert.equal(lab.said('bye'), 1);
  assert.equal(
    trap.events('hook-end')[0]?.['outcome'],
    'ended',
    'its hook is not killed before the guest has shut down',
  );
  await lab.assertNothingLeft();
});

test('negative control: with --press once it does', async (t) => {
  const lab = new Lab(t);
  const trap = await pressedIntoFirmware(lab, '--press', 'once');
  assert.equal(await trap.status(), 124, trap.stderr);
  assert.equal(lab.said('bye'), 0);
});

test('a hook that presses, and then says "not now", does not call the shutdown off: the button is pressed again', async (t) => {
  const lab = new Lab(t);
  lab.hook('SIGTERM', '#!/bin/sh\nqmp system_powerdown\nexit 75\n');
  const trap = lab.start({ temper: 'slow', options: ['--hooks', lab.hooks, '--timeout', '20', '--press', '1'] });
  await trap.ready();
  trap.kill('SIGTERM');
  await trap.event('too-late');
  assert.equal(lab.said('up'), 0, 'it was pressed too early');
  assert.equal(await trap.status(), 0, trap.stderr);
  assert.equal(lab.said('bye'), 1);
  assert.deepEqual(trap.events('dropped'), []);
});

test('the bundled hook presses once and exits, and the button is pressed again as --press says', async (t) => {
  const lab = new Lab(t);
  const trap = lab.start({ temper: 'slow', options: ['--press', '0.5'] });
  await trap.ready();
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(lab.said('bye'), 1);
  assert.equal(trap.events('hook-end')[0]?.['outcome'], 'done');
  assert.ok(trap.events('powerdown').length > 2, trap.stderr);
});

for (const [what, press] of [
  ['the bundled hook', []],
  ['in process', ['--signal', 'TERM,monitorcommand=system_powerdown']],
  ['pressed once', ['--press', 'once']],
] as const) {
  test(`a guest that another signal's hook pauses after its press is let go on (${what})`, async (t) => {
    const lab = new Lab(t);
    lab.hook(
      'SIGUSR1',
      `#!/bin/sh\nuntil [ -e '${lab.file('pause')}' ]; do sleep 0.05; done\nexec "$QEMU_TRAP_BUNDLED/pause"\n`,
    );
    const trap = await lab.startGuest({
      temper: 'lingering',
      options: ['--hooks', lab.hooks, '--timeout', '20', ...press],
    });
    trap.kill('SIGUSR1');
    await trap.event('hook-start');
    trap.kill('SIGTERM');
    await trap.event('powerdown');
    await lab.guestSaid('pressed');
    lab.spawn(['touch', lab.file('pause')]);
    await until('the guest was let go on', () =>
      trap.events('command').some(({ message }) => /cont succeeded: the guest was paused/.test(message)),
    );
    assert.equal(await trap.status(), 0, trap.stderr);
    assert.equal(lab.said('bye'), 1);
  });
}

for (const [what, words, error] of [
  ['does nothing', 'exit 0', null],
  [
    'asks for what QEMU does not know',
    `printf '{"execute":"qmp_capabilities"}{"execute":"system_powerdwn"}' >&3`,
    /system_powerdwn has not been found/,
  ],
] as const) {
  test(`a hook that ${what} and ends well: that it has not pressed is told at once, and the button follows`, async (t) => {
    const lab = new Lab(t);
    lab.hook('SIGTERM', `#!/bin/sh\n${words}\n`);
    const trap = await lab.startGuest({ options: ['--hooks', lab.hooks, '--timeout', '4'] });
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
    assert.equal(lab.said('bye'), 1);
    const events = trap.log.map(({ event }) => event);
    assert.ok(events.indexOf('not-pressed') < events.indexOf('powerdown'), trap.stderr);
    const [told] = trap.events('not-pressed');
    assert.equal(told?.level, error === null ? 'info' : 'warning');
    if (error === null) assert.equal(told?.['error'], null);
    else assert.match(String(told?.['error']), error);
  });
}

test('a hook that presses and hangs up at once: nothing is told of it', async (t) => {
  const lab = new Lab(t);
  lab.hook('SIGTERM', `#!/bin/sh\nprintf '{"execute":"qmp_capabilities"}{"execute":"system_powerdown"}' >&3\n`);
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks] });
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(trap.events('not-pressed').length, 0, trap.stderr);
});

test('a hook whose press has made the guest reset has pressed: nobody is told that it did not', async (t) => {
  const lab = new Lab(t);
  lab.hook('SIGTERM', '#!/bin/sh\nqmp --wait RESET system_powerdown\nsleep 0.5\n');
  const trap = await lab.startGuest({ temper: 'rebooting', options: ['--hooks', lab.hooks] });
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
  assert.equal(lab.said('bye'), 1);
  assert.deepEqual(trap.events('not-pressed'), []);
});
