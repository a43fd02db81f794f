import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { test, type TestContext } from 'node:test';
import { Lab, read, until } from '../support/lab.js';

/* What a service manager hears at $NOTIFY_SOCKET, in the protocol of sd_notify(3), and what it costs where there is none. */

const receiver = `
import array, os, socket, sys
address = sys.argv[1]
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.bind("\\0" + address[1:] if address[0] == "@" else address)
print("bound", flush=True)
while True:
    data, ancillary, _, _ = manager.recvmsg(4096, socket.CMSG_SPACE(4))
    print(data.decode().replace("\\n", " "), flush=True)
    for _, kind, fds in ancillary:
        # The barrier: closed when all before it is read.
        if kind == socket.SCM_RIGHTS:
            for fd in array.array("i", fds): os.close(fd)
`;

async function listen(t: TestContext, address: string): Promise<() => string[]> {
  const child = spawn('python3', ['-c', receiver, address], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  let heard = '';
  child.stdout.on('data', (chunk) => (heard += chunk));
  await until('the receiver listens', () => heard.startsWith('bound'));
  return () => heard.split('\n').slice(1, -1);
}

/** A folder for the head of $PATH, whose systemd-notify records that it was called. */
function recorder(lab: Lab): { path: string; calls: () => string } {
  const bin = lab.file('bin');
  mkdirSync(bin);
  writeFileSync(`${bin}/systemd-notify`, `#!/bin/sh\necho "$*" >>${lab.file('calls')}\n`, { mode: 0o755 });
  return { path: `${bin}:${process.env['PATH']}`, calls: () => read(lab.file('calls')) };
}

const skip = spawnSync('systemd-notify', ['--version']).status === 0 ? false : 'systemd-notify is not here';

for (const kind of ['a path', 'an abstract name'] as const) {
  test(`a service manager at ${kind} hears of the start, the run, the stop and its seconds`, { skip }, async (t) => {
    const lab = new Lab(t);
    const address = kind === 'a path' ? lab.file('notify') : `@${lab.file('notify')}`;
    const heard = await listen(t, address);
    const trap = await lab.startGuest({ temper: 'lingering', env: { NOTIFY_SOCKET: address } });
    await until(
      'READY=1, and the status',
      () => heard().some((each) => each.includes('READY=1')) && heard().some((each) => each.includes('STATUS=running')),
    );
    assert.ok(!heard().join(' ').includes('STOPPING=1'));
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
    const all = heard().join('\n');
    assert.match(all, /STOPPING=1/);
    assert.match(all, /STATUS=shutting down on SIGTERM, at most until \d\d:\d\d:\d\d/);
    assert.match(all, /EXTEND_TIMEOUT_USEC=\d{8}/);
    assert.equal(all.split('READY=1').length, 2, 'READY=1 once');
    const statuses = (): string[] => heard().filter((each) => each.includes('STATUS='));
    await until('how it ended is the last status', () =>
      /STATUS=SIGTERM: clean shutdown: the guest powered off/.test(statuses().at(-1) ?? ''),
    );
    await lab.assertNothingLeft();
  });
}

test('without $NOTIFY_SOCKET nothing is spawned for it', async (t) => {
  const lab = new Lab(t);
  const { path, calls } = recorder(lab);
  const trap = await lab.startGuest({ env: { PATH: path, NOTIFY_SOCKET: '' } });
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(calls(), '');
});

test('a service manager that waits for a sign of life (WatchdogSec=) has it, until the end', { skip }, async (t) => {
  const lab = new Lab(t);
  const address = lab.file('notify');
  const heard = await listen(t, address);
  const signs = (): number => heard().filter((each) => each.includes('WATCHDOG=1')).length;
  const env = { NOTIFY_SOCKET: address, WATCHDOG_USEC: '200000' };
  const trap = await lab.startGuest({ env });
  await until('READY=1 and three signs of life', () => heard().join(' ').includes('READY=1') && signs() >= 3);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
});

test('a manager that waits for ever for a sign of life, or for longer than Node can, gets no flood of them', {
  skip,
}, async (t) => {
  for (const WATCHDOG_USEC of [String(2n ** 64n - 1n), '4294967296000']) {
    const lab = new Lab(t);
    const { path, calls } = recorder(lab);
    const trap = await lab.startGuest({ env: { NOTIFY_SOCKET: lab.file('nobody'), WATCHDOG_USEC, PATH: path } });
    await until('READY=1', () => calls().includes('READY=1'));
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
    assert.doesNotMatch(calls(), /WATCHDOG/);
    assert.doesNotMatch(trap.stderr, /Warning/);
  }
});

test('a sign of life that another process is to give is not given', { skip }, async (t) => {
  const lab = new Lab(t);
  const address = lab.file('notify');
  const heard = await listen(t, address);
  const env = { NOTIFY_SOCKET: address, WATCHDOG_USEC: '1000', WATCHDOG_PID: '1' };
  const trap = await lab.startGuest({ env });
  await until('READY=1', () => heard().join(' ').includes('READY=1'));
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.ok(!heard().join(' ').includes('WATCHDOG'));
});

test('negative control: with it, systemd-notify is what is spawned', async (t) => {
  const lab = new Lab(t);
  const { path, calls } = recorder(lab);
  const trap = await lab.startGuest({ env: { PATH: path, NOTIFY_SOCKET: lab.file('notify') } });
  await until('it is called', () => calls().includes('READY=1'));
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
});

test('where systemd-notify is not there, one line says so, and all else goes its way', async (t) => {
  const lab = new Lab(t);
  const bin = lab.file('bin');
  mkdirSync(bin);
  for (const directory of (process.env['PATH'] ?? '').split(':')) {
    for (const name of ['sh', 'env', 'setpriv', 'sleep', 'ps', 'qemu-system-x86_64', 'mkfifo', 'prlimit']) {
      try {
        if (readdirSync(directory).includes(name)) symlinkSync(`${directory}/${name}`, `${bin}/${name}`);
      } catch {
        // No such directory, or the command was found in one before it.
      }
    }
  }
  const trap = await lab.startGuest({ env: { PATH: bin, NOTIFY_SOCKET: lab.file('notify') } });
  await trap.event('notify-failed');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(lab.said('bye'), 1);
  assert.equal(trap.events('notify-failed').length, 1);
});
