import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { execute, isAlive, Lab } from '../support/lab.js';

/*
 * A rule has up to three stages: its hook, its monitor command, the power button; and every one of them gets its turn.
 */

test('an unknown monitor command is followed by the button', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest({ options: ['--signal', 'SIGTERM,monitorcommand=system_powerdwn'] });
  assert.match(
    (await trap.event('unknown-command')).message,
    /--signal SIGTERM: QEMU has no monitor command 'system_powerdwn': write system_powerdown$/,
  );
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
  assert.equal(lab.said('bye'), 1);
  assert.equal(trap.events('next-link')[0]?.['because'], 'command-failed');
});

test('--check with a QEMU finds the commands that it does not know, and no other', async (t) => {
  const lab = new Lab(t);
  const commands = {
    USR1: 'system_powerdwn',
    USR2: 'savevm nightly',
    XCPU: 'migrate {"uri":"tcp:host:4444"}',
    HUP: 'system_reset',
    ALRM: 'nmi',
    VTALRM: 'nonsense now',
  };
  const options = Object.entries(commands).flatMap(([signal, command]) => [
    '--signal',
    `${signal},monitorcommand=${command}`,
  ]);
  const check = lab.start({ options: ['--check', ...options], qemu: [] });
  assert.equal(await check.status(), 125);
  const found = check.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { event: string; command: string })
    .filter(({ event }) => event === 'unknown-command');
  assert.deepEqual(found.map(({ command }) => command).sort(), ['nonsense now', 'system_powerdwn']);
});

const saves = ['--signal', 'SIGTERM,monitorcommand=savevm nightly', '--timeout', '6'];

test('savevm on a raw disk is refused, and the button follows at once', async (t) => {
  const lab = new Lab(t);
  const command = lab.guest().map((word) => word.replace('snapshot=on', 'snapshot=off'));
  const trap = await lab.startGuest({ command, options: saves });
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
  assert.equal(lab.said('bye'), 1);
  assert.equal(trap.events('next-link')[0]?.['because'], 'command-failed');
});

test('savevm on qcow2 succeeds, and the button follows in the reserve', async (t) => {
  const lab = new Lab(t);
  // snapshot=on puts a qcow2 over the disk.
  const trap = await lab.startGuest({ options: saves });
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
  assert.equal(lab.said('bye'), 1);
  assert.ok(
    trap
      .events('command')
      .some(({ message }) => /savevm nightly succeeded \(judging by what the human monitor printed\)/.test(message)),
    trap.stderr,
  );
  assert.equal(trap.events('next-link')[0]?.['because'], 'command-done');
});

for (const stoodMs of [5_000, 9_000])
  test(`qemu-trap with a timeout of 4 s stood still for ${stoodMs / 1_000} s: the button still has its reserve`, async (t) => {
    const lab = new Lab(t);
    lab.hook('SIGTERM', '#!/bin/sh\nexec sleep 600\n');
    const trap = await lab.startGuest({ options: ['--hooks', lab.hooks, '--timeout', '4', '--kill-after', '2'] });
    trap.kill('SIGTERM');
    await trap.event('hook-start');
    trap.kill('SIGSTOP');
    await new Promise((resolve) => setTimeout(resolve, stoodMs));
    trap.kill('SIGCONT');
    assert.equal(await trap.status(), 0, trap.stderr);
    assert.equal(lab.said('bye'), 1);
    assert.ok(Number(trap.events('lost-time')[0]?.['ms']) > 2_000, trap.stderr);
  });

for (const [what, command, says] of [
  [
    'a wrapper that drops its words',
    (lab: Lab) => ['sh', '-c', `exec ${lab.guest().join(' ')}`, 'sh'],
    /does a wrapper in front of QEMU drop the arguments/,
  ],
  [
    'a server without wait=off',
    (lab: Lab) => [...lab.guest(), '-chardev', `socket,id=c,path=${lab.file('c')},server=on`],
    /QEMU waits for a connection to -chardev socket.*: add wait=off to it/,
  ],
] as const) {
  test(`no monitor ten seconds after the start (${what}): a line says so, and why`, async (t) => {
    const lab = new Lab(t);
    const trap = lab.start({ command: command(lab), options: ['--timeout', '0.5', '--kill-after', '0.5'] });
    assert.match((await trap.event('no-monitor')).message, says);
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 137);
  });
}

/** An NBD server that serves a file, and stops answering when a file appears: QEMU waits for it as it exits. */
const hangingDisk = `
import os, socket, struct, sys
path, sign, image = sys.argv[1:4]
data = bytearray(open(image, 'rb').read().ljust(1 << 20, b'\\0'))
server = socket.socket(socket.AF_UNIX); server.bind(path); server.listen(1)
print('listening', flush=True)
s, _ = server.accept()
def take(n):
    b = b''
    while len(b) < n:
        c = s.recv(n - len(b))
        if not c: sys.exit()
        b += c
    return b
s.sendall(b'NBDMAGIC' + b'IHAVEOPT' + struct.pack('>H', 3)); take(4)
while True:
    magic, option, length = struct.unpack('>8sII', take(16)); body = take(length)
    reply = lambda kind, more=b'': s.sendall(struct.pack('>QIII', 0x3e889045565a9, option, kind, len(more)) + more)
    if option == 7:
        reply(3, struct.pack('>HQH', 0, len(data), 0x0d)); reply(1); break
    reply(0x80000001)
while True:
    _, flags, kind, handle, at, length = struct.unpack('>IHHQQI', take(28))
    if kind == 1: data[at:at + length] = take(length)
    if kind == 2: sys.exit()
    if kind == 3 and os.path.exists(sign):
        import time; time.sleep(600)
    s.sendall(struct.pack('>IIQ', 0x67446698, 0, handle))
    if kind == 0: s.sendall(data[at:at + length])
`;

test('a guest that powers off while QEMU hangs in its exit: --kill-after, and a line, without any signal', async (t) => {
  const lab = new Lab(t);
  const command = lab.guest();
  const image = lab.file('obedient.img');
  const disk = lab.spawn(['python3', '-c', hangingDisk, lab.file('nbd'), lab.file('hang'), image]);
  await new Promise((resolve) => disk.stdout?.once('data', resolve));
  const withDisk = [
    ...command,
    '-drive',
    `if=none,id=slow,format=raw,file=nbd+unix:///?socket=${lab.file('nbd')}`,
    '-device',
    'ide-hd,drive=slow,bus=ide.1',
  ];
  const trap = await lab.startGuest({ command: withDisk, options: ['--kill-after', '2'] });
  writeFileSync(lab.file('hang'), '');
  await execute(lab, 'system_powerdown');
  assert.equal(await trap.status(), 137, trap.stderr);
  assert.equal(lab.said('bye'), 1);
  assert.deepEqual([trap.verdict['end'], trap.verdict['cut_off']], ['guest-shutdown', false]);
  assert.match(
    trap.events('exit-hangs')[0]?.message ?? '',
    /QEMU announced its exit 2 s ago and is still running; killing it with SIGKILL/,
  );
  assert.ok(!isAlive(trap.qemuPid));
});
