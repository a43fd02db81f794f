import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { Lab, monitor, read, runState } from './lab.js';

/*
 * qemu-trap goes the way of a signal once, behind a SIGURG to itself, before one counts (VmRun of src/vm/vm.ts). Nobody
 * is to see it.
 */

test('what is rehearsed touches nothing: no hook runs, no command is sent, and a SIGURG from elsewhere is told', async (t) => {
  const lab = new Lab(t);
  for (const signal of ['SIGTERM', 'SIGUSR1'])
    lab.hook(signal, `#!/bin/sh\necho ${signal} >>"${lab.file('ran')}"\nqmp system_powerdown\n`);
  const trap = await lab.startGuest({
    options: ['--hooks', lab.hooks, '--signal', 'USR2,monitorcommand=system_reset'],
  });
  const before = readdirSync(lab.runDir);
  trap.kill('SIGURG');
  const told = await trap.event('ignored');
  assert.deepEqual([told['signal'], told['times']], ['SIGURG', 1]);
  assert.equal(read(lab.file('ran')), '');
  assert.equal(lab.said('pressed'), 0);
  assert.equal(lab.said('up'), 1);
  assert.deepEqual(readdirSync(lab.runDir), before);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(read(lab.file('ran')), 'SIGTERM\n');
  assert.equal(trap.events('ignored').length, 1);
});

test('a rule or hook for SIGURG gets every SIGURG, and none that nobody sent', async (t) => {
  for (const kind of ['hook', 'rule']) {
    await t.test(kind, async (t) => {
      const lab = new Lab(t);
      if (kind === 'hook') lab.hook('SIGURG', '#!/bin/sh\nqmp stop\n');
      const trap = await lab.startGuest({
        options: ['--hooks', lab.hooks, ...(kind === 'rule' ? ['--signal', 'URG,monitorcommand=stop'] : [])],
      });
      const { client, socket } = await monitor(lab);
      assert.equal(await runState(client), 'running');
      trap.kill('SIGURG');
      await trap.event(kind === 'hook' ? 'hook-end' : 'command');
      assert.equal(await runState(client), 'paused');
      socket.destroy();
      trap.kill('SIGTERM');
      assert.equal(await trap.status(), 0);
      assert.equal(trap.events('ignored').length, 0);
    });
  }
});
