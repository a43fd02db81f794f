import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, openSync } from 'node:fs';
import { after, test } from 'node:test';
import { until } from '../support/lab.js';
import { boxed } from './box.js';
import { background, examples, install, must, sh, testManager, Vm } from './vm.js';

/*
 * Debian has no nosh. Where its service-manager is on the path it is what runs; everywhere, the bundle's own `run` gets
 * the signals that nosh is known to send. The latter proves nothing of nosh.
 */

const bundles = '/var/local/nosh';
const log = '/var/log/nosh-web';

function layDown(): void {
  install();
  mkdirSync(bundles, { recursive: true });
  must(`cp -r ${examples}/nosh/web ${bundles}/ && mkdir -p ${bundles}/web/supervise`);
}

/** service-manager(1) takes its control socket as LISTEN_FDS has it. */
const withControlSocket = `
import os, socket
os.makedirs("/run/service-manager", exist_ok=True)
control = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
control.bind("/run/service-manager/control")
os.dup2(control.fileno(), 3)
# Also where it has been 3 already.
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execvp("service-manager", ["service-manager"])
`;

boxed('tini', 'nosh', () => {
  if (sh('command -v service-manager').status === 0) {
    const status = (): string => sh(`service-status ${bundles}/web`).output;
    testManager({
      name: 'nosh',
      logs: () => [log],
      setUp: async () => {
        layDown();
        // It is the tests that start it, and not the scanner.
        must(`touch ${bundles}/web/service/down`);
        background('sh', '-c', `exec python3 -c '${withControlSocket}' >>${log} 2>&1 3<&-`);
        await until('it has its control socket', () => existsSync('/run/service-manager/control'));
        background('service-dt-scanner', bundles);
        await until('the bundle is loaded', () => status().includes('stopped'));
      },
      start: () => void must(`service-control --up ${bundles}/web`),
      askToStop: () => void must(`service-control --down ${bundles}/web`),
      saysDown: () => status().includes('stopped'),
      impatient: () => undefined,
      patient: () => undefined,
      // It never kills: an administrator does.
      stopOrKill: () =>
        void must(`service-control --down ${bundles}/web; sleep 1; kill -KILL $(pgrep -o -f bin/qemu-trap)`),
      afterCrash: 'restarts',
      shutDown: () => void must('kill -TERM $(pgrep -x service-manager)'),
    });
  } else {
    test('nosh', { skip: 'service-manager is not on the path' }, () => undefined);
  }

  const vm = new Vm(() => [log]);
  after(() => vm.remove());
  test("nosh, a stand-in: its bundle's `run`, with SIGTERM and SIGCONT at once, again and again, is a clean shutdown", async () => {
    layDown();
    for (let cycle = 1; cycle <= 10; cycle++) {
      vm.configure('lingering');
      const out = openSync(log, 'a');
      const child = spawn('./run', { cwd: `${bundles}/web/service`, stdio: ['ignore', out, out] });
      const exited = new Promise<number | null>((resolve) => child.on('exit', resolve));
      await vm.says('up');
      const down = (): void => {
        child.kill('SIGTERM');
        child.kill('SIGCONT');
      };
      down();
      await vm.says('pressed');
      down();
      down();
      assert.equal(await exited, 0);
      await vm.wasClean();
      assert.equal(vm.said('pressed'), 1);
    }
  });
});
