import assert from 'node:assert/strict';
import { spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { createConnection, createServer } from 'node:net';
import { basename } from 'node:path';
import { test } from 'node:test';
import { shellQuote } from '../../src/system/permissions.js';
import type { PowerButtonBehaviour } from '../../src/commands/try/guest.js';
import { execute, isAlive, kill, Lab, monitor, read, until, type Trap } from '../support/lab.js';

/** A QEMU that somebody else started, with one QMP monitor. */
async function bareQemu(lab: Lab, temper: PowerButtonBehaviour = 'obedient', ...more: string[]): Promise<ChildProcess> {
  const child = lab.spawn([
    ...lab.guest(temper),
    '-name',
    'foreign',
    '-qmp',
    `unix:${lab.file('qmp')},server=on,wait=off`,
    ...more,
  ]);
  await lab.guestSaid('up');
  return child;
}

/** Another one, at a socket of another name. */
async function bareQemuAt(lab: Lab, name: string): Promise<ChildProcess> {
  const words = lab.guest().map((word) => word.replace(`file:${lab.serial}`, 'null'));
  const child = lab.spawn([...words, '-qmp', `unix:${lab.file(name)},server=on,wait=off`]);
  // A socket has its name before anybody listens on it: flags of /proc/net/unix, __SO_ACCEPTCON of Linux.
  await until('it listens', () =>
    read('/proc/net/unix')
      .split('\n')
      .some((line) => line.endsWith(` ${lab.file(name)}`) && line.split(/ +/)[3] === '00010000'),
  );
  return child;
}

function attach(lab: Lab, ...options: string[]): Trap {
  return lab.start({ command: [], options: ['--attach', lab.file('qmp'), ...options] });
}

async function attached(lab: Lab, ...options: string[]): Promise<Trap> {
  const trap = attach(lab, ...options);
  await trap.ready();
  return trap;
}

test('--attach: SIGTERM shuts a QEMU down that somebody else started, and its name is its own', async (t) => {
  const lab = new Lab(t);
  const qemu = await bareQemu(lab);
  const trap = await attached(lab);
  assert.equal(trap.qemuPid, qemu.pid);
  assert.equal(trap.events('takeover')[0]?.['vm'], 'foreign');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(trap.verdict['verdict'], 'clean');
  assert.equal(trap.events('hook-start').length, 1, 'by the bundled hook');
  assert.equal(lab.said('bye'), 1);
  await lab.assertNothingLeft();
});

test('--attach to a QEMU that has daemonized itself, by another path to its socket', async (t) => {
  const lab = new Lab(t);
  const child = lab.spawn([...lab.guest(), '-daemonize', '-qmp', 'unix:qmp,server=on,wait=off']);
  await new Promise((resolve) => child.on('exit', resolve));
  await lab.guestSaid('up');
  const trap = lab.start({ command: [], options: ['--attach', 'qmp'] });
  await trap.ready();
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(lab.said('bye'), 1);
  await lab.assertNothingLeft();
});

test('hooks, several at once, and legacy scripts share the one monitor', async (t) => {
  const lab = new Lab(t);
  await bareQemu(lab);
  lab.hook(
    'SIGUSR1',
    `#!/bin/sh\nread -r greeting <&3\necho "$greeting" >${lab.file('greeting')}\nwhile [ ! -e ${lab.file('go')} ]; do sleep 0.05; done\nqmp query-name >${lab.file('name')}\n`,
  );
  lab.hook('SIGUSR2', `#!/bin/sh\nqmp --wait STOP stop && qmp cont\n`);
  lab.hook(
    'SIGALRM',
    `#!/bin/sh\n{ echo '{"execute":"qmp_capabilities"}'; echo '{"execute":"query-status","id":[1]}'; sleep 0.3; } | socat - UNIX-CONNECT:$QMP_SOCKET >${lab.file('legacy')}\n`,
  );
  lab.hook('SIGVTALRM', `#!/bin/sh\necho info status | socat - UNIX-CONNECT:$MONITOR_SOCKET >${lab.file('human')}\n`);
  lab.hook('SIGHUP', `#!/bin/sh\necho system_powerdown | socat - UNIX-CONNECT:$MONITOR_SOCKET\n`);
  const trap = await attached(lab, '--hooks', lab.hooks);
  const ended = (signal: string) =>
    until(`${signal} is over`, () => trap.events('hook-end').find((end) => end['signal'] === signal));
  trap.kill('SIGUSR1');
  await until('the first hook has its greeting', () => read(lab.file('greeting')) !== '');
  assert.match(read(lab.file('greeting')), /^\{"QMP": ?\{/);
  for (const signal of ['SIGUSR2', 'SIGALRM', 'SIGVTALRM'] as const) {
    trap.kill(signal);
    assert.equal((await ended(signal))['outcome'], 'done');
  }
  assert.match(read(lab.file('legacy')), /"id": \[1\]/);
  assert.match(read(lab.file('human')), /VM status: running/);
  const { client, socket } = await monitor(lab);
  assert.deepEqual(await client.execute('query-name'), { name: 'foreign' });
  socket.destroy();
  spawnSync('touch', [lab.file('go')]);
  assert.equal((await ended('SIGUSR1'))['outcome'], 'done');
  assert.match(read(lab.file('name')), /foreign/);
  trap.kill('SIGHUP');
  assert.equal(await trap.status(), 0);
  assert.equal(trap.verdict['verdict'], 'clean');
  assert.equal(lab.said('bye'), 1);
  await lab.assertNothingLeft();
});

test('a hook that fires and forgets, in any style of JSON that QEMU reads, is obeyed', async (t) => {
  for (const words of [
    '{"execute":"qmp_capabilities"}\\n{"execute":"system_powerdown"}\\n',
    '{"execute":"qmp_capabilities"}{"execute":"system_powerdown"}',
    "{'execute': 'qmp_capabilities'} {'execute': 'system_powerdown', 'id': 'a \"b\" c'}",
    '{"execu\\377{"execute":"qmp_capabilities"}{"execute":\\n"system_powerdown"}',
    'rubbish {"execute":"qmp_capabilities"}\\n]}{"execute":"system_powerdown"}\\n',
  ]) {
    const lab = new Lab(t);
    await bareQemu(lab);
    lab.hook('SIGTERM', `#!/bin/sh\nprintf ${shellQuote(words)} >&3\n`);
    const trap = await attached(lab, '--hooks', lab.hooks, '--timeout', '10', '--signal', 'TERM,monitorcommand=none');
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0, `${words}\n${trap.stderr}`);
    assert.equal(lab.said('bye'), 1, words);
  }
});

test('a deadline is 124, SIGKILL 137, an end of its own 0, a crash 125', async (t) => {
  for (const [temper, options, act, status, verdict] of [
    ['stubborn', ['--timeout', '0.5'], (trap: Trap) => trap.kill('SIGTERM'), 124, 'forced'],
    [
      'obedient',
      ['--timeout', '0.5', '--kill-after', '0.5'],
      async (trap: Trap) => (await trap.lab.hang(trap.qemuPid), trap.kill('SIGTERM')),
      137,
      'killed',
    ],
    ['obedient', [], (trap: Trap) => void execute(trap.lab, 'quit').catch(() => undefined), 0, 'by-itself'],
    ['obedient', [], (trap: Trap) => process.kill(trap.qemuPid, 'SIGTERM'), 0, 'host-signal'],
    ['obedient', [], (trap: Trap) => process.kill(trap.qemuPid, 'SIGKILL'), 125, 'unknown'],
  ] as const) {
    const lab = new Lab(t);
    await bareQemu(lab, temper);
    const trap = await attached(lab, ...options);
    await act(trap);
    assert.equal(await trap.status(), status, `${verdict}:\n${trap.stderr}`);
    assert.equal(trap.verdict['verdict'], verdict);
    await lab.assertNothingLeft();
  }
});

test('qemu-trap killed: QEMU runs on, and may be attached to again', async (t) => {
  const lab = new Lab(t);
  const qemu = await bareQemu(lab);
  const first = await attached(lab);
  await first.die();
  assert.ok(isAlive(qemu.pid as number));
  const next = await attached(lab);
  next.kill('SIGTERM');
  assert.equal(await next.status(), 0);
  await lab.assertNothingLeft();
});

test('a socket that cannot be served: one line, 125', async (t) => {
  const lab = new Lab(t);
  const refused = async (says: RegExp): Promise<void> => {
    const trap = lab.start({ command: [], options: ['--attach', lab.file('qmp')], log: 'text' });
    assert.equal(await trap.status(), 125, trap.stderr);
    assert.match(trap.stderr, /^qemu-trap: --attach [^\n]+\n$/);
    assert.match(trap.stderr, says);
    assert.ok(!existsSync(lab.runDir));
  };
  await refused(/nothing is listening on it: start QEMU with -qmp unix:/);
  spawnSync('touch', [lab.file('qmp')]);
  await refused(/it is not a socket: name the socket of QEMU's QMP monitor/);
  spawnSync('rm', [lab.file('qmp')]);

  await bareQemu(lab);
  const other = createConnection(lab.file('qmp'));
  await new Promise((resolve) => other.once('data', resolve));
  await refused(/another client is using it \(a monitor serves one\)/);
  other.destroy();
  const trap = await attached(lab);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
});

test('a socket of something else than a QMP monitor: one line, 125, and nobody is harmed', async (t) => {
  const lab = new Lab(t);
  const qemu = await bareQemu(lab, 'obedient', '-monitor', `unix:${lab.file('human')},server=on,wait=off`);
  const trap = lab.start({ command: [], options: ['--attach', lab.file('human')], log: 'text' });
  assert.equal(await trap.status(), 125);
  assert.match(trap.stderr, /^qemu-trap: --attach \S+human: this is not a QMP monitor: [^\n]+\n$/);
  assert.ok(isAlive(qemu.pid as number));
});

test('a QEMU that qemu-trap has started is not attached to, but taken over', async (t) => {
  const lab = new Lab(t);
  const first = await lab.startGuest({ options: ['--on-death', 'keep'] });
  await first.die();
  const other = await bareQemuAt(lab, 'other');
  for (const socket of [`${lab.runDir}/qmp.sock`, lab.file('other')]) {
    const trap = lab.start({ command: [], options: ['--attach', socket], log: 'text' });
    assert.equal(await trap.status(), 125, trap.stderr);
    assert.match(
      trap.stderr,
      /^qemu-trap: --attach \S+: \S+ holds the sockets of a QEMU that qemu-trap started: [^\n]+\n$/,
    );
  }
  await kill(other);
  const next = lab.start({ options: ['--on-death', 'keep'] });
  assert.equal((await next.event('takeover'))['pid'], first.qemuPid);
  next.kill('SIGTERM');
  assert.equal(await next.status(), 0);
  await lab.assertNothingLeft();
});

test('a QEMU that was attached to is not started a second time', async (t) => {
  const lab = new Lab(t);
  await bareQemu(lab);
  const first = await attached(lab);
  await first.die();
  const wrong = lab.start({ log: 'text' });
  assert.equal(await wrong.status(), 125);
  assert.match(wrong.stderr, /^qemu-trap: cannot take over the QEMU left running in \S+: [^\n]+\n$/);
  const next = await attached(lab);
  next.kill('SIGTERM');
  assert.equal(await next.status(), 0);
  await lab.assertNothingLeft();
});

test("the process is found by its socket, and not by the socket's name", async (t) => {
  const lab = new Lab(t);
  const dirs = ['a', 'b'].map((name) => lab.file(name));
  const qemus: ChildProcess[] = [];
  for (const dir of dirs) {
    mkdirSync(dir);
    qemus.push(await bareQemuAt(lab, `${basename(dir)}/qmp`));
    const holder = createConnection(`${dir}/qmp`);
    await new Promise((resolve) => holder.once('data', resolve));
    t.after(() => holder.destroy());
    if (dir === dirs[0]) holder.destroy();
  }
  const trap = lab.start({ command: [], options: ['--attach', `${dirs[0]}/qmp`] });
  await trap.ready();
  assert.equal(trap.qemuPid, qemus[0]?.pid);
  trap.kill('SIGTERM');
  await trap.status();
  assert.ok(isAlive(qemus[1]?.pid as number));
});

test('a client that writes without end, and never reads, costs no memory, and a crash after a reboot is no good end', async (t) => {
  const lab = new Lab(t);
  await bareQemu(lab);
  const trap = await attached(lab, '--signal', 'USR1,script=reboot', '--press', '0.5');
  const flood = createConnection(`${lab.runDir}/qmp.sock`);
  t.after(() => flood.destroy());
  flood.on('error', () => undefined);
  flood.pause();
  flood.write('{"execute":"qmp_capabilities"}');
  const command = '{"execute":"query-qmp-schema"}'.repeat(1_000);
  for (let i = 0; i < 200; i++) flood.write(command);
  trap.kill('SIGUSR1');
  await trap.event('hook-end');
  assert.ok(Number(/^VmRSS:\s+(\d+) kB$/m.exec(read(`/proc/${trap.pid}/status`))?.[1]) < 400_000);
  flood.destroy();
  process.kill(trap.qemuPid, 'SIGSEGV');
  assert.equal(await trap.status(), 125);
  assert.equal(trap.verdict['verdict'], 'unknown');
});

test('two qemu-traps never serve one QEMU', async (t) => {
  const lab = new Lab(t);
  await bareQemu(lab);
  const first = await attached(lab);
  const second = lab.start({
    command: [],
    options: ['--attach', `${lab.runDir}/${basename('qmp.sock')}`],
    log: 'text',
  });
  assert.equal(await second.status(), 125);
  assert.match(second.stderr, /another qemu-trap( \(pid \d+\))? is serving it already|no greeting/);
  first.kill('SIGTERM');
  assert.equal(await first.status(), 0);
});

test('a monitor that spreads its words over lines (-qmp-pretty): one line says what to write instead', async (t) => {
  const lab = new Lab(t);
  const socket = lab.file('pretty.sock');
  lab.spawn([...lab.guest(), '-qmp-pretty', `unix:${socket},server=on,wait=off`], { stdio: 'ignore' });
  await lab.guestSaid('up');
  const trap = lab.start({ command: [], options: ['--attach', socket], log: 'text' });
  assert.equal(await trap.status(), 125);
  assert.match(trap.stderr, /^qemu-trap: --attach [^\n]*-qmp-pretty[^\n]*start QEMU with -qmp unix:[^\n]*\n$/);
});

test('a greeting that comes in pieces is read to where it can be told', async (t) => {
  for (const [pieces, says] of [
    [['{', '\n    "', 'QMP": {'], /-qmp-pretty/],
    [['{"', 'Q', 'MX'], /this is not a QMP monitor/],
    [['SSH', '-2.0'], /this is not a QMP monitor/],
  ] as const) {
    const lab = new Lab(t);
    const server = createServer((client) => {
      client.on('error', () => undefined);
      const left = [...pieces];
      const timer = setInterval(
        () => (left.length > 0 ? client.write(left.shift() as string) : clearInterval(timer)),
        30,
      );
      client.on('close', () => clearInterval(timer));
    });
    t.after(() => server.close());
    server.listen(lab.file('qmp'));
    const trap = lab.start({ command: [], options: ['--attach', lab.file('qmp')], log: 'text' });
    assert.equal(await trap.status(), 125);
    assert.match(trap.stderr, says);
  }
});
