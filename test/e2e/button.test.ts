import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { assertPressedWhenHeard, countReadings, observed, readPassed } from '../support/control-monitor.js';
import { execute, Lab, read, until, type StartOptions, type Trap } from '../support/lab.js';
import { Linux, needsLinux, says } from '../support/linux.js';

/*
 * Whether a guest hears its power button, from the registers that QEMU lets be read: what is told, and what is done.
 */

const short = ['--timeout', '3'];
/**
 * A young guest is pressed again after as long as it has been there: if that is just before the deadline, nothing is known
 * of that press.
 */
const twice = ['--press', '1,60'];
const inProcess = ['--signal', 'TERM,monitorcommand=system_powerdown'];

/** A hook `end` that writes down what it is told. */
function hookEnd(lab: Lab): void {
  lab.hook('end', `#!/bin/sh\nprintf %s "$QEMU_TRAP_BUTTON" >${lab.file('told')}\n`);
}

/** Starts a guest, sends SIGTERM when it is up, and waits for its forced end. */
async function cutOff(lab: Lab, options: StartOptions): Promise<Trap> {
  hookEnd(lab);
  const trap = await lab.startGuest({ ...options, options: ['--hooks', lab.hooks, ...(options.options ?? short)] });
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 124, trap.stderr);
  return trap;
}

/** What the last line, the hook `end` and the history tell. */
function assertTold(lab: Lab, trap: Trap, button: string, words: RegExp): void {
  assert.equal(trap.verdict['button'], button, trap.stderr);
  assert.match(trap.verdict.message, words);
  assert.equal(read(lab.file('told')), button);
  const record = JSON.parse(read(lab.file('state/vm.history')).trim().split('\n').at(-1) as string);
  assert.equal(record.button, button);
  assert.equal(record.message, trap.verdict.message);
}

for (const [temper, button, words] of [
  ['stubborn', 'taken', /cut off \(its kernel took the press .*is systemd-logind or acpid running\?/],
  ['hung', 'not-taken', /cut off \(it listened .*did not take the press: its kernel hangs or ignores ACPI/],
  ['deaf', 'not-listening', /cut off \(it did not listen to its power button .*allow a longer --timeout/],
] as const) {
  test(`a guest that is ${temper}: ${button} is told everywhere, with the next step`, async (t) => {
    const lab = new Lab(t);
    const press = button === 'taken' ? twice : [];
    const trap = await cutOff(lab, { temper, options: ['--name', 'vm', ...short, ...press] });
    assertTold(lab, trap, button, words);
    if (button !== 'taken') assert.equal(trap.events('powerdown').length, 2, 'not before the last quarter');
    const told = trap.events('button').map((line) => line['button']);
    assert.deepEqual(told, button === 'not-taken' ? [] : [button]);
  });
}

for (const [machine, button, words] of [
  ['isapc', 'no-acpi', /this machine has no ACPI/],
  ['pc,acpi=off', 'no-acpi', /this machine has no ACPI/],
  ['q35,acpi=off', 'no-acpi', /this machine has no ACPI/],
  ['microvm', 'unknown', /unknown whether it heard its power button: this machine does not tell/],
] as const) {
  for (const how of ['by hook', 'in process'] as const) {
    test(`machine type ${machine}, pressed ${how}: ${button}`, async (t) => {
      const lab = new Lab(t);
      hookEnd(lab);
      const trap = lab.start({
        command: ['qemu-system-x86_64', '-M', machine, '-m', '16', '-display', 'none', '-nodefaults'],
        options: ['--hooks', lab.hooks, '--name', 'vm', '--timeout', '2', ...(how === 'by hook' ? [] : inProcess)],
      });
      await trap.ready();
      trap.kill('SIGTERM');
      assert.equal(await trap.status(), 124, trap.stderr);
      assertTold(lab, trap, button, words);
    });
  }
}

test('a guest that listens after seconds is pressed as soon as it does, without a gap between presses', async (t) => {
  const lab = new Lab(t);
  const passed = lab.file('passed');
  const trap = lab.start({
    command: observed(passed, lab.guest('slow')),
    env: { WHOLE: '1' },
    options: ['--timeout', '60', ...inProcess],
  });
  await trap.ready();
  assert.equal(countReadings(readPassed(passed)), 0, 'nothing is read before a shutdown');
  trap.kill('SIGTERM');
  await trap.event('button');
  assert.equal(lab.said('up'), 0, 'it was pressed too early');
  const status = lab.spawn(['node', resolve('dist/qemu-trap.cjs'), '--status', '--run-dir', lab.runDir]);
  let shown = '';
  status.stdout?.on('data', (chunk) => (shown += chunk));
  await until('its status is shown', () => status.exitCode !== null);
  assert.match(shown, /the guest does not listen to its power button: .*guest-shutdown/);
  assert.equal(await trap.status(), 0, trap.stderr);
  assert.equal(lab.said('bye'), 1);
  assert.equal(trap.events('listening').length, 1);
  assert.equal(trap.events('powerdown').length, 2, trap.stderr);
  assert.equal(assertPressedWhenHeard(readPassed(passed)).presses, 1);
});

test('negative control: with --press as given it is pressed when that says, and is cut off', async (t) => {
  const lab = new Lab(t);
  const trap = lab.start({ temper: 'slow', options: ['--press', '60', '--timeout', '8', ...inProcess] });
  await trap.ready();
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, 'the last quarter has its press');
  assert.equal(trap.events('listening').length, 0);
  const once = new Lab(t);
  const bare = once.start({ temper: 'slow', options: ['--press', 'once', '--timeout', '6', ...inProcess] });
  await bare.ready();
  bare.kill('SIGTERM');
  assert.equal(await bare.status(), 124, bare.stderr);
  assert.equal(once.said('bye'), 0);
});

test('a guest whose kernel takes the press before its services are up is pressed again, though it has taken it', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest({ temper: 'early', options: ['--timeout', '8'] });
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
  assert.equal(lab.said('bye'), 1);
  assert.ok(trap.events('powerdown').length > 1, trap.stderr);
  const once = new Lab(t);
  const bare = await once.startGuest({ temper: 'early', options: ['--timeout', '8', '--press', 'once'] });
  bare.kill('SIGTERM');
  assert.equal(await bare.status(), 124, 'negative control');
  assert.equal(once.said('pressed'), 0);
});

test('a guest that resets after its press is pressed as soon as it listens again', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest({ temper: 'rebooting', options: ['--timeout', '60'] });
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
  assert.equal(lab.said('bye'), 1);
  assert.equal(trap.events('powerdown').length, 2, trap.stderr);
  assert.equal(trap.events('listening').length, 1, trap.stderr);
});

test('a guest that was paused takes its press when it goes on, and one that slept is pressed when it is awake', async (t) => {
  const lab = new Lab(t);
  const paused = await lab.startGuest({ temper: 'stubborn', options: [...short, '--name', 'vm', ...inProcess] });
  await execute(lab, 'stop');
  paused.kill('SIGTERM');
  assert.equal(await paused.status(), 124);
  assert.equal(lab.said('pressed') > 0, true);
  const asleep = new Lab(t);
  const trap = asleep.start({ temper: 'sleeping', options: ['--timeout', '60'] });
  await asleep.guestSaid('up');
  await trap.ready();
  await until('it sleeps', async () => JSON.stringify(await execute(asleep, 'query-status')).includes('suspended'));
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
  assert.equal(asleep.said('bye'), 1);
});

test('a guest that panics in a shutdown: nothing is asked of its button', async (t) => {
  const lab = new Lab(t);
  const passed = lab.file('passed');
  const trap = await lab.startGuest({
    command: [...observed(passed, lab.guest('stubborn')), '-device', 'pvpanic', '-action', 'panic=shutdown'],
    env: { WHOLE: '1' },
    options: ['--timeout', '60', ...inProcess],
  });
  trap.kill('SIGTERM');
  await lab.guestSaid('pressed');
  await trap.event('button');
  await execute(lab, 'human-monitor-command', { 'command-line': 'o /b 0x505 1' }).catch(() => undefined);
  assert.equal(await trap.status(), 123, trap.stderr);
  assert.equal(trap.verdict['end'], 'panic');
  const all = readPassed(passed);
  const at = all.findIndex((each) => 'event' in each && each.event === 'GUEST_PANICKED');
  assert.ok(at > 0);
  assert.equal(countReadings(all.slice(at)), 0, 'nothing is read of a guest that panicked');
});

/** OVMF of Debian; `npm test` installs it. */
const ovmf = '/usr/share/ovmf/OVMF.fd';

for (const [machine, firmware] of [
  ['q35', []],
  ['pc', ['-bios', ovmf]],
  ['q35', ['-bios', ovmf]],
] as const) {
  const name = `${machine} with ${firmware.length === 0 ? 'SeaBIOS' : 'OVMF'}`;
  const isThere = firmware.length === 0 || existsSync(ovmf);
  const options = isThere ? needsLinux : { skip: `${ovmf} is not here: apt-get install ovmf` };
  test(`a real Linux on ${name}, told in its firmware: pressed as soon as it listens`, options, async (t) => {
    const lab = new Lab(t);
    const linux = new Linux(lab);
    const passed = lab.file('passed');
    const trap = lab.start({
      command: [...observed(passed, linux.command({ machine })), ...firmware],
      env: { WHOLE: '1' },
      options: ['--timeout', '120'],
    });
    await trap.ready();
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0, trap.stderr);
    assert.equal(linux.said(says.bye), 1);
    linux.assertClean();
    assert.equal(assertPressedWhenHeard(readPassed(passed)).presses, 1);
  });
}

test('a real Linux in which nothing acts on the button: taken', needsLinux, async (t) => {
  const lab = new Lab(t);
  const linux = new Linux(lab);
  const trap = lab.start({ command: linux.command({ words: ['ignore'] }), options: ['--timeout', '4', ...twice] });
  await linux.says(says.up);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 124, trap.stderr);
  assert.equal(trap.verdict['button'], 'taken');
});

for (const [version, path] of [
  ['10', '.cache/qemu-trixie/qemu-system-x86_64'],
  ['11', '.cache/qemu-sid/qemu-system-x86_64'],
] as const) {
  test(`QEMU ${version}: the same is read`, {
    skip: existsSync(resolve(path)) ? false : `npm run test:guests makes a QEMU ${version}, which is not here`,
  }, async (t) => {
    for (const [temper, button] of [
      ['stubborn', 'taken'],
      ['hung', 'not-taken'],
      ['deaf', 'not-listening'],
    ] as const) {
      const lab = new Lab(t);
      const [, ...words] = lab.guest(temper);
      const press = button === 'taken' ? twice : [];
      const trap = await cutOff(lab, { command: [resolve(path), ...words], options: [...short, ...press] });
      assert.equal(trap.verdict['button'], button, trap.stderr);
    }
  });
}
