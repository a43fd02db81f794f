import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { execute, Lab, read, until, type StartOptions, type Trap } from '../support/lab.js';

/*
 * Silence after SHUTDOWN: QEMU 10.0 crashes on what a monitor's thread reads while its main thread takes the monitors
 * down. Between qemu-trap and a real QEMU a program passes every byte on, and notes those that come too late.
 */

const stops = 3;

const term = (_: Lab, trap: Trap): void => trap.kill('SIGTERM');
const rows: Readonly<
  Record<
    string,
    {
      readonly options?: readonly string[];
      readonly hook?: string;
      readonly start?: StartOptions;
      readonly act?: (lab: Lab, trap: Trap) => unknown;
      readonly status?: number;
    }
  >
> = {
  'the bundled hook': {},
  'in process': { options: ['--signal', 'TERM,monitorcommand=system_powerdown'] },
  'a hook that presses and exits': { hook: 'qmp system_powerdown' },
  'a hook that waits for SHUTDOWN': { hook: 'qmp --wait SHUTDOWN system_powerdown' },
  'a hook that presses and hangs': { hook: 'qmp system_powerdown; exec sleep 600' },
  '-no-shutdown': { start: { qemu: ['-no-shutdown'] } },
  'a guest that goes by itself': { act: (lab) => execute(lab, 'system_powerdown') },
  'a guest that goes by itself under a hook of another signal': {
    hook: 'exec sleep 600',
    act: async (lab, trap) => (trap.kill('SIGUSR1'), await trap.event('hook-start'), execute(lab, 'system_powerdown')),
  },
  'a deadline': { start: { temper: 'stubborn' }, options: ['--timeout', '0.3'], status: 124 },
  'a panic': {
    start: { qemu: ['-device', 'pvpanic', '-action', 'panic=shutdown'] },
    options: ['--signal', 'USR1,monitorcommand=o /b 0x505 1'],
    act: (_, trap) => trap.kill('SIGUSR1'),
    status: 123,
  },
};

for (const [what, { options = [], hook, start = {}, act = term, status = 0 }] of Object.entries(rows)) {
  test(`${what}: nothing is said to QEMU after SHUTDOWN`, async (t) => {
    for (let i = 0; i < stops; i++) {
      const lab = new Lab(t);
      if (hook !== undefined) for (const name of ['SIGTERM', 'SIGUSR1']) lab.hook(name, `#!/bin/sh\n${hook}\n`);
      const between = ['python3', resolve('test/support/between.py'), lab.file('late')];
      const trap = await lab.startGuest({
        ...start,
        command: [...between, ...lab.guest(start.temper), ...(start.qemu ?? [])],
        options: ['--hooks', lab.hooks, ...options],
      });
      await act(lab, trap);
      assert.equal(await trap.status(), status, trap.stderr);
      assert.equal(read(lab.file('late')), 'end\n', `stop ${i}`);
    }
  });
}

/** Debian 13's QEMU, from a debootstrap folder: `npm run test:guests` makes it. */
const qemu10 = resolve('.cache/qemu-trixie/qemu-system-x86_64');

test('two hundred stops of a QEMU 10: none crashes', {
  skip: existsSync(qemu10) ? false : 'npm run test:guests makes a QEMU 10',
  timeout: 900_000,
}, async (t) => {
  for (let i = 0; i < 200; i += 4) {
    await Promise.all(
      [0, 1, 2, 3].map(async (lane) => {
        const lab = new Lab(t);
        const options = lane % 2 === 0 ? [] : ['--signal', 'TERM,monitorcommand=system_powerdown'];
        const trap = await lab.startGuest({ command: [qemu10, ...lab.guest().slice(1)], options });
        trap.kill('SIGTERM');
        assert.equal(await trap.status(), 0, trap.stderr);
        assert.match(trap.verdict.message, /clean shutdown: the guest powered off \(QEMU: status 0\)/);
        await until('it is gone', () => lab.left().length === 0);
      }),
    );
  }
});
