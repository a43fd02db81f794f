import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planLaunch } from '../../../src/qemu/launch-plan.js';

const qemu = (...options: string[]): string[] => ['qemu-system-x86_64', ...options];

const wish = {
  qemu: qemu('-m', '16'),
  shield: true,
  dieWithParent: true,
  helpers: { env: '/usr/bin/env', setpriv: '/usr/bin/setpriv' },
  inherited: [3, 6, 40],
  marked: [3, 6],
  withheld: null,
  descriptorLimit: 1024,
  monitorsFile: '/run/x/monitors.cfg',
  savedState: null,
  inheritsNothing: false,
  terminal: 'none' as const,
};

test('the launch leaves the command line untouched', () => {
  const plan = planLaunch(wish);
  assert.deepEqual(plan.args.slice(-5), ['qemu-system-x86_64', '-m', '16', '-readconfig', '/run/x/monitors.cfg']);
  assert.equal(plan.detached, false);
  assert.equal(planLaunch({ ...wish, shield: false }).command, '/usr/bin/setpriv');
  assert.equal(planLaunch({ ...wish, helpers: { env: null, setpriv: null } }).command, 'qemu-system-x86_64');
  assert.equal(planLaunch({ ...wish, helpers: { env: null, setpriv: null } }).detached, true);
});

test("descriptors keep their numbers in QEMU, and qemu-trap's own have the highest free ones below 256 and the limit", () => {
  const { stdio, controlFd } = planLaunch(wish);
  assert.deepEqual(stdio.slice(0, 8), ['inherit', 'inherit', 'inherit', 3, 'ignore', 'ignore', 6, 'ignore']);
  // What is not marked close-on-exec is inherited without a word.
  assert.equal(stdio[40], 'ignore');
  assert.equal(controlFd, 255);
  assert.equal(stdio[255], 'pipe');
  assert.equal(stdio.length, 256);
  for (const [change, fds] of [
    [{ inherited: [255, 253] }, [254, 252]],
    [{ inherited: [255], marked: [255] }, [254, 253]],
    [{ descriptorLimit: 64 }, [63, 62]],
    [{ descriptorLimit: Infinity }, [255, 254]],
    [{ withheld: 255 }, [254, 253]],
    [{ inherited: Array.from({ length: 254 }, (_, i) => i + 3) }, [257, 258]],
  ] as const) {
    const plan = planLaunch({ ...wish, ...change, savedState: { fd: 17, path: '/var/lib/x/web.state' } });
    assert.equal(plan.controlFd, fds[0], JSON.stringify(change));
    assert.deepEqual(plan.args.slice(-3), ['-incoming', 'defer', '-S']);
    assert.deepEqual(plan.incoming, [`file:/proc/self/fd/${fds[1]}`, `fd:${fds[1]}`]);
    assert.equal(plan.stdio[fds[1]], 17);
  }
  const named = planLaunch({
    ...wish,
    marked: [],
    inheritsNothing: true,
    savedState: { fd: 17, path: "/var/lib/o'x/web.state" },
  });
  assert.equal(named.controlFd, null);
  assert.deepEqual(named.incoming, ["file:/var/lib/o'x/web.state", "exec:cat '/var/lib/o'\\''x/web.state'"]);
  assert.deepEqual(named.stdio, ['inherit', 'inherit', 'inherit']);
});
