import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Lab } from '../support/lab.js';

/** On SIGTERM: fills the socket that is qemu-trap's stderr, which nobody reads, and passes the signal on. */
const unreadSocket = `
import signal, socket, subprocess, sys, time
ours, theirs = socket.socketpair()
child = subprocess.Popen(sys.argv[1:], stderr=theirs)
def stop(*_):
    try:
        while True: theirs.send(b'x', socket.MSG_DONTWAIT)
    except BlockingIOError: pass
    child.send_signal(signal.SIGTERM)
signal.signal(signal.SIGTERM, stop)
# A signal that comes just before a wait has its handler called when the wait is over.
while child.poll() is None: time.sleep(0.05)
sys.exit(child.returncode)
`;

test('a stderr that is a full socket (as a service has to the journal) delays no shutdown', async (t) => {
  const lab = new Lab(t);
  const trap = lab.start({ through: ['python3', '-c', unreadSocket] });
  await lab.guestSaid('up');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(lab.said('bye'), 1);
  await lab.assertNothingLeft();
});

/** Runs qemu-trap in the background of a terminal, as `qemu-trap ... &` does; its stderr goes where ours does. */
const inBackground = `
import os, pty, signal, sys
stderr = os.dup(2)
shell, terminal = pty.fork()
if shell == 0:
    job = os.fork()
    if job == 0:
        os.setpgid(0, 0)
        os.dup2(stderr, 2)
        os.execvp(sys.argv[1], sys.argv[1:])
    os._exit(os.waitstatus_to_exitcode(os.waitpid(job, 0)[1]))
try:
    while os.read(terminal, 4096): pass
except OSError: pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(shell, 0)[1]))
`;

test('in the background of a terminal, it ends when QEMU was killed, though it may not set its modes back', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest({ through: ['python3', '-c', inBackground] });
  process.kill(trap.qemuPid, 'SIGKILL');
  assert.equal(await trap.status(), 137);
  await lab.assertNothingLeft();
});

test('what a hook wrote without a line feed stays a line of its own', async (t) => {
  const lab = new Lab(t);
  lab.hook('TERM', '#!/bin/sh\nprintf "bye, guest"\nexit 1\n');
  const trap = lab.start({ log: 'text', options: ['--hooks', lab.hooks] });
  await lab.guestSaid('up');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.match(trap.stderr, /^bye, guest\nqemu-trap: /m);
  assert.equal(trap.stderr.match(/bye, guest./g), null);
});
