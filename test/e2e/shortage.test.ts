import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { isAlive, Lab, type Trap } from '../support/lab.js';
import { noStrace, traced } from '../support/strace.js';

/*
 * A qemu-trap that gets no descriptor, or no process, any more: each of these was once a hang, a guest that was cut
 * off unpressed, or a process left behind.
 */

const short = ['--timeout', '6', '--kill-after', '2'];

/** As many descriptors as it has, and not one more. */
function noMoreFiles(trap: Trap): void {
  const open = new Set(readdirSync(`/proc/${trap.pid}/fd`).map(Number));
  let limit = 3;
  while (open.has(limit)) limit++;
  execFileSync('prlimit', ['--pid', String(trap.pid), `--nofile=${limit}:`]);
}

for (const [what, hook] of [
  ['a hook that hangs', '#!/bin/sh\necho up\nsleep 600\n'],
  ['a hook that hangs and is deaf', '#!/bin/sh\ntrap "" TERM\necho up\nsleep 600 & sleep 600\n'],
  ['a hook whose child has left its session', '#!/bin/sh\nsetsid sleep 600 &\necho up\nsleep 600\n'],
] as const) {
  test(`no descriptor is left while ${what} runs: the guest is pressed in the reserve, and nothing is left behind`, async (t) => {
    const lab = new Lab(t);
    lab.hook('SIGTERM', hook);
    const trap = await lab.startGuest({ options: ['--hooks', lab.hooks, ...short] });
    trap.kill('SIGTERM');
    await trap.event('hook-output');
    noMoreFiles(trap);
    assert.equal(await trap.status(), 0, trap.stderr);
    assert.equal(lab.said('bye'), 1);
    assert.equal(trap.events('internal-error').length, 0, trap.stderr);
    await lab.assertNothingLeft();
  });
}

test('no descriptor is left when QEMU is killed under a hook: it ends, and nothing is left behind', async (t) => {
  const lab = new Lab(t);
  lab.hook('SIGTERM', '#!/bin/sh\necho up\nsleep 600\n');
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks, ...short] });
  trap.kill('SIGTERM');
  await trap.event('hook-output');
  noMoreFiles(trap);
  process.kill(trap.qemuPid, 'SIGKILL');
  assert.equal(await trap.status(), 137, trap.stderr);
  await lab.assertNothingLeft();
});

for (const when of ['3', '3..4'])
  test(`no descriptor is left in the moment in which a hook begins (${when}): what it leaves is found all the same`, {
    skip: noStrace,
  }, async (t) => {
    const lab = new Lab(t);
    const asked = lab.file('asked');
    lab.hook('SIGTERM', `#!/bin/sh\ntrap 'echo >"${asked}"; exit 1' TERM\necho up\nsleep 600 & wait\n`);
    // Which control group the hook was born in is read then; Node itself reads it first, and then it is read for the groups.
    const refusing = traced(
      lab.file('strace'),
      [`inject=openat:error=EMFILE:when=${when}`],
      ['-P', '/proc/self/cgroup'],
    );
    const trap = lab.start({ through: refusing, options: ['--hooks', lab.hooks, ...short] });
    await trap.ready();
    await lab.guestSaid('up');
    trap.kill('SIGTERM');
    await trap.event('hook-output');
    process.kill(trap.qemuPid, 'SIGKILL');
    assert.equal(await trap.status(), 137, trap.stderr);
    assert.ok(existsSync(asked), 'it was asked to exit before it was killed');
    await lab.assertNothingLeft();
  });

test('no descriptor is left before QEMU answers: the button is pressed all the same', async (t) => {
  const lab = new Lab(t);
  const trap = lab.start({ options: short });
  await trap.event('start');
  // Its monitors are connected to after that.
  process.kill(trap.qemuPid, 'SIGSTOP');
  noMoreFiles(trap);
  process.kill(trap.qemuPid, 'SIGCONT');
  await lab.guestSaid('up');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
  assert.equal(lab.said('bye'), 1);
  await lab.assertNothingLeft();
});

test('no descriptor is left when the signal comes: the button is pressed', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest({ options: short });
  noMoreFiles(trap);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
  assert.equal(lab.said('bye'), 1);
  await lab.assertNothingLeft();
});

test('no descriptor is left to look after a QEMU that was taken over: it is not thought gone', async (t) => {
  const lab = new Lab(t);
  const first = await lab.startGuest({ options: ['--on-death', 'keep', ...short] });
  await first.die();
  const next = lab.start({ options: short });
  await next.ready();
  noMoreFiles(next);
  next.kill('SIGTERM');
  assert.equal(await next.status(), 0, next.stderr);
  assert.ok(!isAlive(first.qemuPid));
  assert.equal(lab.said('bye'), 1);
  await lab.assertNothingLeft();
});
