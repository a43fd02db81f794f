import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, test } from 'node:test';
import { Lab, program, read, until } from '../support/lab.js';
import { atTerminal } from '../support/terminal.js';

/*
 * `--timeout infinity`: a guest that is never forced, but by SIGQUIT or a second Ctrl-C.
 */

const never = ['--timeout', 'infinity'];

/** What `--status` prints of the one VM of `lab`. */
function statusOf(lab: Lab, ...words: string[]): string {
  const own = ['--state-dir', lab.file('state'), '--run-dir', lab.runDir];
  return spawnSync(process.execPath, [program, '--status', ...own, ...words, 'vm'], { encoding: 'utf8' }).stdout;
}

describe('--timeout infinity', { concurrency: true }, () => {
  test('a guest that takes its time goes by itself, and is told of without a time', async (t) => {
    const lab = new Lab(t);
    const trap = await lab.startGuest({ temper: 'lingering', options: [...never, '--name', 'vm'] });
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0, trap.stderr);
    assert.equal(lab.said('bye'), 1);
    const [shutdown] = trap.events('shutdown');
    assert.deepEqual([shutdown?.['timeout_ms'], shutdown?.['timeout']], [null, 'infinity']);
    const { last } = JSON.parse(statusOf(lab, '--log', 'json')) as { readonly last: Record<string, unknown> };
    assert.deepEqual([last['end'], last['timeout_ms'], last['timeout']], ['guest-shutdown', null, 'infinity']);
  });

  test('a guest that heeds nothing is pressed again and again, and SIGQUIT ends it', async (t) => {
    const lab = new Lab(t);
    const options = [...never, '--press', '200ms', '--name', 'vm'];
    const trap = await lab.startGuest({ temper: 'stubborn', options });
    trap.kill('SIGTERM');
    await trap.event('powerdown', 5);
    const row = JSON.parse(statusOf(lab, '--log', 'json')) as { readonly serving: Record<string, unknown>[] };
    assert.deepEqual([row.serving[0]?.['waits_for'], row.serving[0]?.['left_ms']], ['guest', null]);
    const told = statusOf(lab);
    assert.match(told, /SIGTERM \(guest\) +- /);
    assert.match(told, /^vm: SIGTERM: waiting until the guest shuts down$/m);
    assert.match(told, new RegExp(`^vm: to cut the guest off now: kill -QUIT ${trap.pid}$`, 'm'));
    trap.kill('SIGTERM');
    trap.kill('SIGQUIT');
    assert.equal(await trap.status(), 124, trap.stderr);
    await lab.assertNothingLeft();
  });

  test('of a rule alone; its hook is told so, and what a hook presses is pressed again', async (t) => {
    const lab = new Lab(t);
    lab.hook('SIGTERM', `#!/bin/sh\necho $QEMU_TRAP_TIMEOUT >${lab.file('told')}\nqmp system_powerdown\n`);
    const rule = ['--signal', 'TERM,timeout=infinity', '--hooks', lab.hooks, '--press', '0.2'];
    const trap = await lab.startGuest({ temper: 'stubborn', options: [...rule, '--timeout', '1'] });
    trap.kill('SIGTERM');
    await trap.event('powerdown', 10);
    assert.equal(read(lab.file('told')).trim(), '2147483647');
    trap.kill('SIGQUIT');
    assert.equal(await trap.status(), 124, trap.stderr);
  });

  test('a hook that hangs has a minute, and then the button is pressed', async (t) => {
    const lab = new Lab(t);
    lab.hook('SIGTERM', '#!/bin/sh\nexec sleep 1000\n');
    const trap = await lab.startGuest({ options: [...never, '--hooks', lab.hooks] });
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0, trap.stderr);
    assert.equal(lab.said('bye'), 1);
    assert.equal(trap.events('next-link')[0]?.['because'], 'hook-timeout');
    assert.ok(Number(trap.events('exit')[0]?.['ms']) >= 60_000, trap.stderr);
    await lab.assertNothingLeft();
  });

  test('at a terminal a second Ctrl-C forces it, and until then the live line says how long it has taken', async (t) => {
    const lab = new Lab(t);
    const terminal = atTerminal(t, lab, lab.guest('stubborn'), { log: 'terminal', options: never });
    await lab.guestSaid('up');
    terminal.type('\x03');
    await until('the live line', () =>
      /1 s so far: SIGINT, waiting until the guest shuts down/.test(terminal.seen.text),
    );
    terminal.type('\x03');
    assert.equal(await terminal.exited, 124);
  });

  test('negative control: with a timeout the same guest is forced', async (t) => {
    const lab = new Lab(t);
    const trap = await lab.startGuest({ temper: 'stubborn', options: ['--timeout', '1'] });
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 124, trap.stderr);
  });
});

test('a timeout of 0 cuts the guest off as before, and a warning says what to write instead', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest({ temper: 'stubborn', options: ['--timeout', '0'] });
  const { message } = await trap.event('no-time');
  assert.match(message, /on SIGHUP, SIGINT, SIGTERM, SIGPWR; write --timeout infinity .*SIGQUIT.*default=quit/);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 124, trap.stderr);
  assert.equal(lab.said('bye'), 0);
});

test('a rule of 0 seconds that leaves the guest running, or is there to quit, is nothing to warn of', async (t) => {
  const lab = new Lab(t);
  const rules = ['--signal', 'HUP,script=reset,timeout=0', '--signal', 'USR1,default=quit,timeout=0'];
  const trap = await lab.startGuest({ options: rules });
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
  assert.deepEqual(trap.events('no-time'), []);
});
