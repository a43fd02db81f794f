import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Lab, read, until, type Trap } from '../support/lab.js';

/*
 * qemu-trap as the first process of a PID namespace, as in a container without an init: there the kernel drops every
 * signal that has no handler (pid_namespaces(7)), and orphans come to it.
 */

const skip = process.getuid?.() === 0 ? false : 'a PID namespace needs root';
const through = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc', '--propagation', 'private'];

/** Its pid out here; unshare(1), its parent, passes no signal on. */
async function first(trap: Trap): Promise<number> {
  return until('unshare has forked', () => Number(read(`/proc/${trap.pid}/task/${trap.pid}/children`).trim()) || null);
}

for (const signal of ['SIGTERM', 'SIGINT', 'SIGPWR'] as const) {
  test(`as process 1: ${signal} is a clean shutdown`, { skip }, async (t) => {
    const lab = new Lab(t);
    const trap = await lab.startGuest({ through });
    process.kill(await first(trap), signal);
    assert.equal(await trap.status(), 0);
    assert.equal(lab.said('bye'), 1);
    await lab.assertNothingLeft();
  });
}

test('as process 1: the orphans of a hook are ended, and cost the guest nothing', { skip }, async (t) => {
  const lab = new Lab(t);
  const hook = '#!/bin/sh\nfor i in 1 2 3 4 5; do (setsid sleep 600 &); done\nqmp query-name >/dev/null\n';
  lab.hook('USR1', hook);
  const trap = await lab.startGuest({ through, options: ['--hooks', lab.hooks] });
  const pid = await first(trap);
  for (let time = 1; time <= 3; time++) {
    process.kill(pid, 'SIGUSR1');
    await trap.event('hook-end', time);
  }
  await until('no orphan lives', () => !lab.left().some((each) => read(`/proc/${each}/cmdline`).startsWith('sleep')));
  process.kill(pid, 'SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(lab.said('bye'), 1);
});

test('as process 1: its SIGKILL leaves no QEMU behind', { skip }, async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest({ through });
  process.kill(await first(trap), 'SIGKILL');
  await until('nothing is left', () => lab.left().length === 0);
  assert.equal(lab.said('bye'), 0);
});

/** SIGRTMIN, for which neither Node nor qemu-trap has a handler. */
const nobodyHandles = 34;

test('as process 1: a signal without a disposition is dropped by the kernel', { skip }, async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest({ through });
  const pid = await first(trap);
  process.kill(pid, nobodyHandles);
  process.kill(pid, 'SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(lab.said('bye'), 1);
});

test('negative control: anywhere else such a signal ends it, and QEMU with it', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest();
  process.kill(trap.pid, nobodyHandles);
  await until('nothing is left', () => lab.left().length === 0);
  assert.equal(lab.said('bye'), 0);
});
