import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Lab } from '../support/lab.js';

/*
 * What docs/security.md promises.
 */

const notRoot = process.geteuid?.() === 0 ? false : 'only root can become another user';

test('another user reaches none of the sockets', { skip: notRoot }, async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest({ through: ['sh', '-c', 'umask 0; exec "$@"', 'sh'] });
  chmodSync(lab.dir, 0o755);
  const sockets = readdirSync(lab.runDir).filter((name) => name.endsWith('.sock'));
  assert.ok(sockets.length >= 5);
  const dial = (socket: string, as: readonly string[]) =>
    spawnSync(
      as[0] as string,
      [...as.slice(1), 'socat', '-u', '/dev/null', `UNIX-CONNECT:${join(lab.runDir, socket)}`],
      { encoding: 'utf8' },
    );
  for (const socket of sockets) {
    assert.match(
      dial(socket, ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups']).stderr,
      /Permission denied/,
      socket,
    );
  }
  assert.equal(dial('monitor.sock', ['env']).status, 0, 'negative control: root does');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
});

test("nothing secret is in the log: neither of QEMU's command line, nor of the environment, nor of a monitor command", async (t) => {
  const lab = new Lab(t);
  const secret = 'hunter2hunter2';
  const options = [
    '--on-death',
    'keep',
    '--signal',
    `USR1,monitorcommand=set_password vnc ${secret}`,
    '--signal',
    `USR2,script=./missing,monitorcommand=change vnc password ${secret}`,
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
