import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, openSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Lab, openFiles, read, until } from './lab.js';

/*
 * What the README promises under Security.
 */

const notRoot = process.geteuid?.() === 0 ? false : 'only root can become another user';

test('neither QEMU nor a hook has a descriptor that it was not given', async (t) => {
  const lab = new Lab(t);
  lab.hook('SIGUSR1', `#!/bin/sh\nls /proc/self/fd >${lab.file('hook-fds')}\n`);
  lab.hook('SIGTERM', `#!/bin/sh\nls /proc/self/fd >${lab.file('hook-fds')}\nqmp system_powerdown\n`);
  // Open and not marked to be closed, on numbers below and above those that Node looks after.
  const open = [5, 9, 17, 18, 40];
  const extra = openSync(lab.file('not-given'), 'w+');
  const stdio = ['ignore', 'pipe', 'pipe', ...Array.from({ length: 38 }, (_, i) => (open.includes(i + 3) ? extra : 'ignore'))] as const;
  const options = ['--hooks', lab.hooks];

  const listing = lab.start({ stdio: [...stdio], options, command: ['sh', '-c', `ls /proc/self/fd >${lab.file('qemu-fds')}`, 'sh'] });
  assert.equal(await listing.status(), 0);
  // 3 is its control monitor; 4 is what ls reads the directory through.
  assert.deepEqual(read(lab.file('qemu-fds')).trim().split('\n'), ['0', '1', '2', '3', '4']);

  const trap = await lab.startGuest({ stdio: [...stdio], options });
  assert.ok(!openFiles(trap.qemuPid).includes(lab.file('not-given')));
  for (const signal of ['SIGUSR1', 'SIGTERM'] as const) {
    trap.kill(signal);
    await until('its hook has listed them', () => read(lab.file('hook-fds')) !== '');
    assert.deepEqual(read(lab.file('hook-fds')).trim().split('\n'), ['0', '1', '2', '3', '4'], signal);
  }
  assert.equal(await trap.status(), 0);
});

test('another user reaches none of the sockets', { skip: notRoot }, async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest({ through: ['sh', '-c', 'umask 0; exec "$@"', 'sh'] });
  chmodSync(lab.dir, 0o755);
  const sockets = readdirSync(lab.runDir).filter((name) => name.endsWith('.sock'));
  assert.ok(sockets.length >= 5);
  const dial = (socket: string, as: readonly string[]) => spawnSync(as[0] as string, [...as.slice(1), 'socat', '-u', '/dev/null', `UNIX-CONNECT:${join(lab.runDir, socket)}`], { encoding: 'utf8' });
  for (const socket of sockets) {
    assert.match(dial(socket, ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups']).stderr, /Permission denied/, socket);
  }
  assert.equal(dial('monitor.sock', ['env']).status, 0, 'negative control: root does');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
});

test('nothing secret is in the log: neither of QEMU\'s command line, nor of the environment, nor of a monitor command', async (t) => {
  const lab = new Lab(t);
  const secret = 'hunter2hunter2';
  const options = [
    '--on-death', 'keep', '--signal', `USR1,monitorcommand=set_password vnc ${secret}`,
    '--signal', `USR2,script=./missing,monitorcommand=change vnc password ${secret}`,
  ];
  const qemu = ['-object', `secret,id=s,data=${secret}`];
  const first = await lab.startGuest({ options, qemu, env: { PASSWORD: secret } });
  first.kill('SIGUSR1');
  await first.event('command');
  first.kill('SIGUSR2');
  await first.event('command', 2);
  await first.die();
  const next = lab.start({ options, qemu: [...qemu, '-boot', 'c'], env: { PASSWORD: secret } });
  await next.ready();
  next.kill('SIGTERM');
  assert.equal(await next.status(), 0);
  for (const { stderr } of [first, next]) assert.doesNotMatch(stderr, new RegExp(secret));
});
