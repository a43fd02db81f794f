import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Lab, nodes, read, until } from '../support/lab.js';

/** Runs qemu-trap as the session's leader of a terminal that hangs up when a file appears; its log goes to a file. */
const hangingUp = `
import os, pty, sys, time
log, sign = sys.argv[1:3]
pid, terminal = pty.fork()
if pid == 0:
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT), 2)
    os.execvp(sys.argv[3], sys.argv[3:])
while not os.path.exists(sign): time.sleep(0.01)
os.close(terminal)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 0xff)
`;

for (const [version, node] of nodes()) {
  test(`Node ${version}: a terminal that hangs up shuts the guest down, and the exit status is what the last line says`, async (t) => {
    const lab = new Lab(t);
    const trap = lab.start({ node, through: ['python3', '-c', hangingUp, lab.file('log'), lab.file('sign')] });
    await lab.guestSaid('up');
    await until('the VM runs', () => read(lab.file('log')).includes('"ready"'));
    lab.spawn(['touch', lab.file('sign')]);
    assert.equal(await trap.status(), 0, read(lab.file('log')));
    assert.match(
      read(lab.file('log')).trim().split('\n').at(-1) ?? '',
      /SIGHUP: clean shutdown: the guest powered off .*exit status 0"/,
    );
    assert.equal(lab.said('bye'), 1);
    await lab.assertNothingLeft();
  });
}
