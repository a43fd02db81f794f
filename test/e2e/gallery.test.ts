import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { execute, Lab, program, read, until } from '../support/lab.js';
import { Linux, needsLinux, says } from '../support/linux.js';
import { standIns } from '../support/stand-ins.js';

/*
 * Every hook of examples/hooks, as a user copies it: with the assignments at its top changed, and nothing else.
 */

const gallery = 'examples/hooks';

/** Copies a hook under the name that it is for. */
function copy(lab: Lab, hook: string, name: string, assignments: Readonly<Record<string, string>> = {}): string {
  let text = readFileSync(`${gallery}/${hook}`, 'utf8');
  for (const [variable, value] of Object.entries(assignments)) {
    const line = new RegExp(`^${variable}=.*$`, 'm');
    assert.match(text, line);
    text = text.replace(line, `${variable}=${value}`);
  }
  return lab.hook(name, text);
}

const named = (lab: Lab): string[] => ['--hooks', lab.hooks, '--name', 'web'];

test('every hook of the gallery has a test here', () => {
  const tested = readFileSync('test/e2e/gallery.test.ts', 'utf8');
  for (const name of readdirSync(gallery).filter((each) => each !== 'README.md'))
    assert.ok(tested.includes(`copy(lab, '${name}'`) || tested.includes(`link(lab, '${name}'`), name);
});

test('ssh: the guest shuts down by ssh alone; if ssh fails, by its power button', async (t) => {
  for (const works of [true, false]) {
    const lab = new Lab(t);
    copy(lab, 'ssh', 'SIGTERM');
    // A guest with sshd is no guest of 512 bytes: the spare monitor plays it.
    const { env, calls } = standIns(lab, {
      ssh: works ? 'echo system_powerdown | socat - UNIX-CONNECT:$MONITOR_SOCKET >/dev/null' : 'exit 255',
    });
    const trap = await lab.startGuest({ options: named(lab), env });
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0, trap.stderr);
    assert.match(calls()[0] ?? '', /root@web systemctl poweroff$/);
    assert.equal(trap.events('next-link').length, works ? 0 : 1, trap.stderr);
    assert.equal(lab.said('bye'), 1);
  }
});

test('windows: its agent, if it answers', needsLinux, async (t) => {
  const lab = new Lab(t);
  copy(lab, 'windows', 'SIGTERM');
  const linux = new Linux(lab);
  const trap = lab.start({ command: linux.command(), options: [...named(lab), '--agent', linux.agent] });
  await linux.says(says.up);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
  assert.equal(linux.said(says.asked), 1);
  assert.equal(linux.said(says.pressed), 0);
});

test('windows: without an agent two presses, half a second apart', async (t) => {
  const lab = new Lab(t);
  copy(lab, 'windows', 'SIGTERM');
  const options = [...named(lab), '--agent', lab.file('no-agent'), '--timeout', '12'];
  const trap = await lab.startGuest({ temper: 'stubborn', options });
  trap.kill('SIGTERM');
  await trap.event('powerdown', 2);
  trap.kill('SIGQUIT');
  assert.equal(await trap.status(), 124);
});

test('tell: a chat is told of a VM that runs, shuts down, or was cut off, and not of a clean end', {
  skip: spawnSync('curl', ['-V']).error ? 'no curl here' : false,
}, async (t) => {
  const lab = new Lab(t);
  const told: string[] = [];
  const server = createServer((request, response) => {
    request.on('data', (chunk) => told.push(String(chunk)));
    request.on('end', () => response.end('ok'));
  });
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  t.after(() => server.close());
  for (const name of ['ready', 'powerdown', 'end'])
    copy(lab, 'tell', name, { address: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` });
  for (const [signal, texts] of [
    ['SIGTERM', [/^web runs$/, /^web shuts down \(SIGTERM\)$/]],
    ['SIGQUIT', [/^web runs$/, /^web was cut off: SIGQUIT: forced stop/]],
  ] as const) {
    const trap = await lab.startGuest({
      temper: 'lingering',
      options: named(lab),
      env: { no_proxy: '*', NO_PROXY: '*' },
    });
    trap.kill(signal);
    await trap.status();
    const said = told.splice(0).map((each) => (JSON.parse(each) as { text: string }).text);
    assert.equal(said.length, texts.length, said.join('\n'));
    for (const [i, text] of texts.entries()) assert.match(said[i] ?? '', text);
  }
});

test('metrics: they are there when the guest runs, and tell of its end', async (t) => {
  const lab = new Lab(t);
  const directory = lab.file('metrics');
  mkdirSync(directory);
  for (const name of ['ready', 'end']) copy(lab, 'metrics', name, { directory });
  const own = ['--run-dir', lab.runDir, '--state-dir', lab.file('state')];
  const bin = lab.file('bin');
  mkdirSync(bin);
  writeFileSync(`${bin}/qemu-trap`, `#!/bin/sh\nexec '${process.execPath}' '${program}' "$@" ${own.join(' ')}\n`, {
    mode: 0o755,
  });
  const env = { PATH: `${bin}:${process.env['PATH']}` };
  const trap = await lab.startGuest({ options: named(lab), env });
  assert.match(read(`${directory}/qemu-trap.prom`), /^qemu_trap_up\{vm="web"\} 1$/m);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
  assert.match(read(`${directory}/qemu-trap.prom`), /^qemu_trap_stops_total\{vm="web",end="guest-shutdown"\} 1$/m);
  assert.deepEqual(readdirSync(directory), ['qemu-trap.prom']);
});

test(
  'snapshot: taken while the guest is frozen, and the guest goes on, also if it cannot be taken',
  needsLinux,
  async (t) => {
    const lab = new Lab(t);
    copy(lab, 'snapshot', 'SIGUSR1');
    const linux = new Linux(lab);
    // The agent says itself how the guest is.
    const { env, calls } = standIns(lab, {
      lvcreate: `qga guest-fsfreeze-status >>${lab.file('calls')}\n[ ! -e ${lab.file('full')} ]`,
    });
    const trap = lab.start({ command: linux.command(), options: [...named(lab), '--agent', linux.agent], env });
    await linux.says(says.up);
    trap.kill('SIGUSR1');
    assert.equal((await trap.event('hook-end'))['outcome'], 'done', trap.stderr);
    assert.match(calls()[0] ?? '', /^lvcreate --snapshot --size 2G --name web-\d{8}-\d{6} \/dev\/vg0\/web$/);
    assert.match(calls()[1] ?? '', /frozen/);
    writeFileSync(lab.file('full'), '');
    trap.kill('SIGUSR1');
    assert.equal((await trap.event('hook-end', 2))['outcome'], 'failed', trap.stderr);
    assert.equal(trap.events('thawed').length, 0, 'the hook has thawed it');
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0, trap.stderr);
    linux.assertClean();
  },
);

test('panic: its memory is dumped, and the guest starts again', async (t) => {
  const lab = new Lab(t);
  copy(lab, 'panic', 'GUEST_PANICKED', { directory: lab.dir });
  const qemu = ['-device', 'pvpanic', '-action', 'panic=pause'];
  const trap = await lab.startGuest({ options: named(lab), qemu });
  await execute(lab, 'human-monitor-command', { 'command-line': 'o /b 0x505 1' });
  assert.equal((await trap.event('hook-end'))['outcome'], 'done', trap.stderr);
  await lab.guestSaid('up', 2);
  assert.equal(readdirSync(lab.dir).filter((name) => /^web-\d{8}-\d{6}\.dump$/.test(name)).length, 1);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
});

test('ups: the guest shuts down while the battery lasts, and else QEMU flushes its disks at once', async (t) => {
  for (const [seconds, status] of [
    ['900', 0],
    ['20', 124],
    ['', 0],
  ] as const) {
    const lab = new Lab(t);
    copy(lab, 'ups', 'SIGPWR');
    const { env } = standIns(lab, { upsc: `echo ${seconds}` });
    const trap = await lab.startGuest({ options: named(lab), env, temper: seconds === '20' ? 'stubborn' : 'obedient' });
    trap.kill('SIGPWR');
    const got = await trap.status();
    if (status === 0) assert.equal(got, 0, trap.stderr);
    assert.equal(trap.verdict['end'], status === 0 ? 'guest-shutdown' : 'quit', trap.stderr);
    assert.equal(trap.verdict['cut_off'], status !== 0);
  }
});

const canMakeTaps =
  process.geteuid?.() === 0 &&
  existsSync('/dev/net/tun') &&
  spawnSync('unshare', ['--net', 'ip', 'link', 'add', 'br0', 'type', 'bridge']).status === 0;

test('bridge: the tap of the VM is a port of the bridge when the guest runs', {
  skip: canMakeTaps ? false : 'no network namespace with bridges here',
}, async (t) => {
  const lab = new Lab(t);
  copy(lab, 'bridge', 'ready');
  const net = ['-netdev', 'tap,id=net0,ifname=tap-web,script=no,downscript=no', '-device', 'virtio-net,netdev=net0'];
  const trap = lab.start({
    through: ['unshare', '--net', 'sh', '-c', 'ip link add br0 type bridge && exec "$@"', 'sh'],
    options: named(lab),
    qemu: net,
  });
  await trap.ready();
  assert.equal(trap.events('hook-end')[0]?.['outcome'], 'done', trap.stderr);
  const { stdout } = spawnSync(
    'nsenter',
    ['--net', '--target', String(trap.qemuPid), 'ip', 'link', 'show', 'master', 'br0'],
    { encoding: 'utf8' },
  );
  assert.match(stdout, /tap-web:.*UP/);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
});

/** Links a hook under each of `names`. */
function link(lab: Lab, hook: string, names: readonly string[], assignments: Readonly<Record<string, string>>): void {
  const path = copy(lab, hook, hook, assignments);
  for (const name of names) symlinkSync(path, resolve(lab.hooks, name));
}

test('proxmox: a hook script has its four phases, and its pre-start can refuse', async (t) => {
  const lab = new Lab(t);
  const script = lab.file('hookscript');
  writeFileSync(script, `#!/bin/sh\necho "$*" >>${lab.file('phases')}\n[ ! -e ${lab.file('refuse')} ]\n`, {
    mode: 0o755,
  });
  link(lab, 'proxmox', ['start', 'ready', 'SIGTERM', 'end'], { script });
  const options = ['--hooks', lab.hooks, '--name', '100'];
  const trap = await lab.startGuest({ options });
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
  assert.equal(lab.said('bye'), 1);
  assert.deepEqual(read(lab.file('phases')).trim().split('\n'), [
    '100 pre-start',
    '100 post-start',
    '100 pre-stop',
    '100 post-stop',
  ]);
  writeFileSync(lab.file('refuse'), '');
  assert.equal(await lab.start({ options }).status(), 125);
});

test("libvirt: a hook script has libvirt's arguments, and the VM's name in XML", async (t) => {
  const lab = new Lab(t);
  const script = lab.file('qemu-hook');
  writeFileSync(script, `#!/bin/sh\necho "$* $(cat)" >>${lab.file('phases')}\n`, { mode: 0o755 });
  link(lab, 'libvirt', ['start', 'ready', 'end'], { script });
  const trap = await lab.startGuest({ options: named(lab) });
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
  const phases = ['prepare begin', 'start begin', 'started begin', 'stopped end', 'release end'];
  await until('all were told', () => read(lab.file('phases')).trim().split('\n').length === phases.length);
  assert.deepEqual(
    read(lab.file('phases')).trim().split('\n'),
    phases.map((phase) => `web ${phase} - <domain type="qemu"><name>web</name></domain>`),
  );
});
