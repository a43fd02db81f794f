import assert from 'node:assert/strict';
import { spawnSync, type StdioOptions } from 'node:child_process';
import { openSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { noStrace, traced } from '../support/strace.js';
import { isAlive, Lab, nodes, openFiles, program, read, until } from '../support/lab.js';

/*
 * Descriptors that qemu-trap was started with: each reaches QEMU under its number, `--ready-fd` apart, and no hook or
 * helper gets any.
 */

/** What the descriptors of a process lead to, by their numbers. */
function descriptors(pid: number): Map<number, string> {
  return new Map(readdirSync(`/proc/${pid}/fd`).map((fd) => [Number(fd), readlinkSync(`/proc/${pid}/fd/${fd}`)]));
}

/** Opens a file of its own on each of `fds`, and starts qemu-trap: python3, since Node would keep some to itself. */
const openOn = `
import os, sys
fds, folder = [int(n) for n in sys.argv[1].split(',') if n], sys.argv[2]
for n in fds:
    fd = os.open(f'{folder}/fd-{n}', os.O_RDWR | os.O_CREAT)
    if fd != n:
        os.dup2(fd, n)
        os.close(fd)
    os.set_inheritable(n, True)
for n in {0, 1, 2} & {int(c) for c in sys.argv[3]}: os.close(n)
os.execvp(sys.argv[4], sys.argv[4:])
`;

function opening(lab: Lab, fds: readonly number[], closed = ''): readonly string[] {
  return ['python3', '-c', openOn, fds.join(','), lab.dir, closed];
}

/** A hook that writes down which descriptors it was started with; that of the listing itself is gone when it is read. */
function listOwn(path: string): string {
  return `#!/usr/bin/env python3
import os
fds = [fd for fd in os.listdir('/proc/self/fd') if os.path.lexists(f'/proc/self/fd/{fd}')]
with open('${path}.part', 'w') as list: list.write(''.join(f'{fd} {os.readlink(f"/proc/self/fd/{fd}")}\\n' for fd in fds))
os.rename('${path}.part', '${path}')
`;
}

const few = [4, 7];
/** With gaps, and beyond the number from which Node leaves descriptors unmarked. */
const many = [
  ...Array.from({ length: 24 }, (_, i) => i + 3),
  ...Array.from({ length: 14 }, (_, i) => i + 30),
  199,
  254,
  300,
];

/** What runs a command at a terminal of its own. */
const atTerminal = `import pty, sys; sys.exit(__import__('os').waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))`;

const kinds: Readonly<
  Record<
    string,
    {
      readonly fds: readonly number[];
      readonly stdio?: (lab: Lab) => StdioOptions;
      readonly closed?: string;
      readonly through?: readonly string[];
    }
  >
> = {
  pipes: { fds: many },
  files: {
    fds: few,
    stdio: (lab) => [openSync(lab.file('in'), 'w+'), openSync(lab.file('out'), 'w+'), openSync(lab.file('log'), 'w+')],
  },
  closed: { fds: many, closed: '012' },
  'a terminal': { fds: few, through: ['python3', '-c', atTerminal] },
};

for (const [version, node] of nodes()) {
  for (const [kind, { fds, stdio, closed, through }] of Object.entries(kinds)) {
    test(`Node ${version}, stdio ${kind}, ${fds.length} descriptors: all are QEMU's under their numbers, and none is a hook's`, async (t) => {
      const lab = new Lab(t);
      for (const name of ['start', 'SIGUSR1']) lab.hook(name, listOwn(lab.file(name)));
      const trap = lab.start({
        node,
        through: [...(through ?? []), ...opening(lab, fds, closed)],
        ...(stdio && { stdio: stdio(lab) }),
        options: ['--hooks', lab.hooks, '--name', 'vm'],
      });
      await lab.guestSaid('up');
      const qemu = await until('qemu.pid is there', () => Number(read(`${lab.runDir}/qemu.pid`).split(' ')[0]) || null);
      const held = descriptors(qemu);
      for (const fd of fds) assert.equal(held.get(fd), lab.file(`fd-${fd}`), `${fd} in ${JSON.stringify([...held])}`);
      const own = Number(/fd = "(\d+)"/.exec(read(`${lab.runDir}/monitors.cfg`))?.[1]);
      assert.ok(own < 256 && own > 200 && !fds.includes(own), `the control monitor is on ${own}`);
      const pid = Number(read(`${lab.runDir}/lock`).split(' ')[0]);
      await until(
        'qemu-trap holds none of them any more',
        () => !openFiles(pid).some((path) => path.startsWith(lab.file('fd-'))),
      );
      await until('the monitors are there', () => read(`${lab.runDir}/status.json`).includes('"running"'));
      process.kill(pid, 'SIGUSR1');
      for (const hook of ['start', 'SIGUSR1']) {
        const seen = await until(`the hook ${hook} has run`, () => read(lab.file(hook)));
        assert.doesNotMatch(seen, /fd-\d/, hook);
        for (const line of seen.trim().split('\n')) {
          const [fd, target] = line.split(' ');
          assert.ok(Number(fd) <= 3 || target === '/dev/null', `${hook} has ${line}`);
        }
      }
      process.kill(pid, 'SIGTERM');
      assert.equal(await trap.status(), 0, trap.stderr + read(lab.file('log')));
      assert.equal(lab.said('bye'), 1);
      await lab.assertNothingLeft();
    });
  }

  for (const [kind, around, step] of [
    ['a pipe', '"$@" 2>&1 | cat', 1],
    ['a file, and stdin closed', '"$@" <&- >log 2>&1; cat log', 4],
  ] as const) {
    test(`Node ${version}, stderr ${kind}: a --ready-fd that nobody opened is refused, whatever qemu-trap and Node have open`, (t) => {
      const lab = new Lab(t);
      // Each in a shell that has closed all but its stdio: what runs the tests may have left any number open.
      const each = `for fd in /proc/$$/fd/*; do fd=\${fd##*/}; [ "$fd" -le 2 ] || eval "exec $fd>&-"; done; ${around}`;
      for (let fd = 3; fd < 28; fd += step) {
        const { stdout } = spawnSync(
          'bash',
          [
            '--norc',
            '-c',
            each,
            'bash',
            node,
            program,
            '--run-dir',
            lab.runDir,
            '--state-dir',
            lab.file('state'),
            '--ready-fd',
            String(fd),
            '--',
            'sh',
            '-c',
            'echo started',
          ],
          { encoding: 'utf8', cwd: lab.dir },
        );
        assert.match(stdout, /^qemu-trap: --ready-fd \d+: that file descriptor is not open for writing[^\n]+\n$/);
      }
    });
  }
}

for (const folder of ['fd', 'fdinfo']) {
  test(`a /proc/self/${folder} that cannot be read takes from Node nothing of its own`, {
    skip: noStrace,
  }, async (t) => {
    const lab = new Lab(t);
    const paths = Array.from({ length: 40 }, (_, fd) => ['-P', `/proc/self/${folder}/${fd + 3}`]).flat();
    const refusing = traced(lab.file('strace'), ['inject=openat,readlink:error=EACCES'], paths);
    const trap = lab.start({ through: [...opening(lab, few), ...refusing] });
    await trap.ready();
    await lab.guestSaid('up');
    const held = descriptors(trap.qemuPid);
    for (const fd of few) assert.equal(held.get(fd), lab.file(`fd-${fd}`), `${fd} in ${JSON.stringify([...held])}`);
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0, trap.stderr);
    assert.equal(lab.said('bye'), 1);
    assert.match(read(lab.file('strace')), /INJECTED/);
    await lab.assertNothingLeft();
  });
}

test('a descriptor that only JSON names reaches QEMU under its number', async (t) => {
  const lab = new Lab(t);
  // Of Node's kind of pipe, which is a socket.
  const trap = lab.start({
    stdio: ['ignore', 'pipe', 'pipe', 'ignore', 'ignore', 'pipe'],
    qemu: ['-netdev', '{"type":"stream","id":"n0","server":false,"addr":{"type":"fd","str":"5"}}'],
  });
  await lab.guestSaid('up');
  assert.match(descriptors(trap.qemuPid).get(5) ?? '', /^socket:/);
  (trap.child.stdio as unknown as Socket[])[5]?.destroy();
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
  assert.equal(lab.said('bye'), 1);
});

test("a descriptor that an option names and nobody opened is not qemu-trap's: QEMU refuses it", async (t) => {
  const lab = new Lab(t);
  const refused = await Promise.all(
    Array.from({ length: 6 }, async (_, i) => {
      const one = new Lab(t);
      const fd = 9 + 8 * i;
      const trap = one.start({ qemu: ['-add-fd', `fd=${fd},set=1`] });
      return { fd, status: await trap.status(), stderr: trap.stderr };
    }),
  );
  for (const { fd, status, stderr } of refused) {
    assert.equal(status, 1, `${fd}: ${stderr}`);
    assert.match(stderr, /-add-fd fd=\d+,set=1: .*not valid/, "QEMU's own words");
  }
  const text = Array.from({ length: 21 }, (_, i) => `/dev/fd/${i + 3}`).join(' ');
  const trap = await lab.startGuest({ qemu: ['-fw_cfg', `name=opt/text,string=${text}`] });
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(lab.said('bye'), 1);
});

for (const fd of [4, 40]) {
  test(`--ready-fd ${fd} gets its newline and its end while the VM runs: neither QEMU nor a hook has it`, async (t) => {
    const lab = new Lab(t);
    lab.hook('start', '#!/bin/sh\nsetsid sleep 600 >/dev/null 2>&1 &\n');
    const stdio = ['ignore', 'pipe', 'pipe', ...Array.from({ length: fd - 3 }, () => 'ignore'), 'pipe'] as StdioOptions;
    const trap = lab.start({ stdio, options: ['--hooks', lab.hooks, '--ready-fd', String(fd)] });
    const ready = (trap.child.stdio as unknown as Socket[])[fd] as Socket;
    let got = '';
    let ended = false;
    ready.on('data', (chunk) => (got += chunk)).on('end', () => (ended = true));
    await until('its end is seen', () => ended);
    assert.equal(got, '\n');
    assert.ok(isAlive(trap.qemuPid));
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
  });
}

/** Starts qemu-trap with a pipe or a socket as fd 9 that is full, and that nobody reads. */
const withFull = `
import fcntl, os, socket, subprocess, sys
if sys.argv[1] == 'pipe': theirs, ours = os.pipe()
else:
    a, b = socket.socketpair()
    theirs, ours = a.detach(), b.detach()
os.set_blocking(ours, False)
try:
    while True: os.write(ours, b'x' * 4096)
except BlockingIOError: pass
os.set_blocking(ours, True)
os.dup2(ours, 9)
os.set_inheritable(theirs, True)
child = subprocess.Popen(sys.argv[2:], pass_fds=(9,))
import signal, time
signal.signal(signal.SIGTERM, lambda *_: child.send_signal(signal.SIGTERM))
# A signal that comes just before a wait has its handler called when the wait is over.
while child.poll() is None: time.sleep(0.05)
sys.exit(child.returncode)
`;

for (const kind of ['pipe', 'socket']) {
  test(`--ready-fd is a full ${kind} that nobody reads: it holds nothing up, and a line says so`, async (t) => {
    const lab = new Lab(t);
    const trap = lab.start({ through: ['python3', '-c', withFull, kind], options: ['--ready-fd', '9'] });
    await lab.guestSaid('up');
    await trap.ready();
    assert.match((await trap.event('ready-failed')).message, /--ready-fd 9: .* it is full, and nothing reads from it/);
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0, trap.stderr);
    assert.equal(lab.said('bye'), 1);
  });
}

test('what qemu-trap was activated with is told to nobody else', async (t) => {
  const lab = new Lab(t);
  writeFileSync(lab.file('qemu'), `#!/bin/sh\nenv >'${lab.file('env')}'\n`, { mode: 0o755 });
  lab.hook('start', `#!/bin/sh\nenv >'${lab.file('env-start')}'\n`);
  const trap = lab.start({
    command: [lab.file('qemu')],
    options: ['--hooks', lab.hooks],
    env: { LISTEN_FDS: '1', LISTEN_PID: '1', LISTEN_FDNAMES: 'x', LISTEN_PIDFDID: '7' },
  });
  await trap.status();
  for (const name of ['env', 'env-start']) {
    assert.match(read(lab.file(name)), /^PATH=/m);
    assert.doesNotMatch(read(lab.file(name)), /LISTEN_/);
  }
});
