import assert from 'node:assert/strict';
import { chmodSync, chownSync, mkdirSync } from 'node:fs';
import { test } from 'node:test';
import { resolve } from 'node:path';
import { Lab, program, read, until } from '../support/lab.js';

/*
 * A terminal in whose background qemu-trap runs, and a stderr that it cannot open anew: neither holds anything up.
 */

/**
 * Runs the words after its first three as a job of a terminal, in the background or the foreground of an interactive
 * shell. What the terminal shows goes to a file; its modes are set by stty(1). SIGTERM is passed on. Nothing waits for
 * long at once: a signal that comes just before Python waits has its handler called when the wait is over.
 */
const job = `
import os, pty, select, signal, subprocess, sys, time
shown, modes, where = sys.argv[1:4]
shell, terminal = pty.fork()
if shell == 0:
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    if modes: subprocess.run(['stty', *modes.split()], check=True)
    job = os.fork()
    if job == 0:
        os.setpgid(0, 0)
        if where == 'foreground': os.tcsetpgrp(0, os.getpgrp())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        os.execvp(sys.argv[4], sys.argv[4:])
    signal.signal(signal.SIGTERM, lambda *_: os.kill(job, signal.SIGTERM))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    while True:
        pid, status = os.waitpid(job, os.WUNTRACED | os.WNOHANG)
        if pid == 0: time.sleep(0.05)
        elif not os.WIFSTOPPED(status): os._exit(os.waitstatus_to_exitcode(status) & 0xff)
signal.signal(signal.SIGTERM, lambda *_: os.kill(shell, signal.SIGTERM))
with open(shown, 'wb', buffering=0) as file:
    try:
        while True:
            if select.select([terminal], [], [], 0.05)[0]: file.write(os.read(terminal, 4096))
    except OSError: pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(shell, 0)[1]))
`;

function asJob(lab: Lab, modes: string, where: 'background' | 'foreground'): string[] {
  return ['python3', '-c', job, lab.file('shown'), modes, where];
}

/** What the guest says comes a letter at a time, and a log line may come in between. */
function guestShown(lab: Lab): string {
  return read(lab.file('shown')).replace(/\{"time":[^\n]*\n/g, '');
}

function state(pid: number): string {
  const stat = read(`/proc/${pid}/stat`);
  return stat.slice(stat.lastIndexOf(')') + 2)[0] ?? '';
}

for (const modes of ['', 'tostop']) {
  test(`in the background of a terminal${modes === '' ? '' : ', with stty tostop'}: the log is seen there, and SIGTERM shuts the guest down`, async (t) => {
    const lab = new Lab(t);
    const trap = lab.start({ through: asJob(lab, modes, 'background'), stdio: ['ignore', 'ignore', 'ignore'] });
    await lab.guestSaid('up');
    await until('the log is on the terminal', () => read(lab.file('shown')).includes('"event":"ready"'));
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
    assert.equal(lab.said('bye'), 1);
    assert.match(read(lab.file('shown')), /clean shutdown/);
    await lab.assertNothingLeft();
  });

  test(`-serial stdio in the background${modes === '' ? '' : ', with stty tostop'}: QEMU is not stopped, and one line says that it has no stdin`, async (t) => {
    const lab = new Lab(t);
    const command = lab.guest().map((word) => (word.startsWith('file:') ? 'stdio' : word));
    const trap = lab.start({
      command,
      through: asJob(lab, modes, 'background'),
      stdio: ['ignore', 'ignore', 'ignore'],
    });
    await until('the guest is up, on the terminal', () => guestShown(lab).includes('guest: up'));
    assert.equal(read(lab.file('shown')).split('"event":"no-stdin"').length, 2);
    const qemu = Number(read(`${lab.runDir}/qemu.pid`));
    assert.notEqual(state(qemu), 'T');
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
    assert.match(guestShown(lab), /guest: bye/);
    await lab.assertNothingLeft();
  });
}

test('-serial stdio in the foreground keeps its stdin', async (t) => {
  const lab = new Lab(t);
  const command = lab.guest().map((word) => (word.startsWith('file:') ? 'stdio' : word));
  const trap = lab.start({ command, through: asJob(lab, '', 'foreground'), stdio: ['ignore', 'ignore', 'ignore'] });
  await until('the guest is up, on the terminal', () => guestShown(lab).includes('guest: up'));
  assert.doesNotMatch(read(lab.file('shown')), /no-stdin/);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
});

const notRoot = { skip: process.geteuid?.() === 0 ? false : 'only root can become another user' };

/** On SIGTERM: fills what is qemu-trap's stderr, a pipe or a terminal that nobody reads, and passes the signal on. */
const filling = `
import os, pty, signal, subprocess, sys, time
kind = sys.argv[1]
ours, theirs = os.pipe() if kind == 'pipe' else pty.openpty()
child = subprocess.Popen(sys.argv[2:], stderr=theirs)
def stop(*_):
    full = os.open('/proc/self/fd/%d' % theirs, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        while True: os.write(full, b'x' * 1024)
    except BlockingIOError: pass
    child.send_signal(signal.SIGTERM)
signal.signal(signal.SIGTERM, stop)
while child.poll() is None: time.sleep(0.05)
sys.exit(child.returncode)
`;

for (const kind of ['pipe', 'terminal']) {
  test(
    `a stderr that is another user's ${kind}, full: nothing is held up, and the last line is not waited for`,
    notRoot,
    async (t) => {
      const lab = new Lab(t);
      chmodSync(lab.dir, 0o755);
      mkdirSync(lab.file('theirs'));
      chownSync(lab.file('theirs'), 65534, 65534);
      const command = lab
        .guest('stubborn')
        .map((word) => (word.startsWith('file:') ? `file:${lab.file('theirs/serial')}` : word));
      chmodSync(lab.file('stubborn.img'), 0o644);
      const asNobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
      const trap = lab.start({
        command,
        program: lab.ownCopy(),
        through: ['python3', '-c', filling, kind, ...asNobody],
        options: ['--run-dir', lab.file('theirs/run'), '--state-dir', lab.file('theirs/state'), '--timeout', '2'],
        stdio: ['ignore', 'ignore', 'ignore'],
      });
      await until('the guest is up', () => read(lab.file('theirs/serial')).includes('guest: up'));
      trap.kill('SIGTERM');
      assert.equal(await trap.status(), 124);
      assert.match(read(lab.file('theirs/serial')), /guest: power button/);
      await until('nothing is left', () => lab.left().length === 0);
    },
  );
}

test('in the background of a terminal, behind a pid namespace in which no group can be told: a refusal is said, and ends', {
  skip: process.geteuid?.() === 0 ? false : 'needs root',
}, async (t) => {
  const lab = new Lab(t);
  const shown = lab.file('shown');
  const child = lab.spawn(
    [
      ...['python3', resolve('test/endurance/place.py'), shown, 'background', 'null', 'terminal'],
      ...['unshare', '--pid', '--fork', '--kill-child', '--mount-proc', process.execPath, program, '--timeout', 'soon'],
    ],
    { stdio: 'ignore' },
  );
  const status = new Promise((settle) => child.on('exit', settle));
  assert.equal(await status, 125);
  await until('it is said', () => read(shown).includes('--timeout'));
});
