import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { report, scenario } from './report.js';
import { until } from '../support/lab.js';
import { testCompose, testPod } from './compose.js';
import {
  checkout,
  Container,
  docker,
  type Engine,
  image,
  must,
  podman,
  run,
  startDocker,
  stopDocker,
} from './engine.js';

/** Every way to run a container that the engines' manuals have for less rights, and for process 1. */
const ways: Readonly<Record<string, { options: string; words?: string }>> = {
  '--read-only': { options: '--read-only --tmpfs /run --tmpfs /tmp --tmpfs /var/tmp --tmpfs /var/lib/qemu-trap' },
  '--user': { options: '--user 1000:1000 -e HOME=/tmp' },
  '--cap-drop all': { options: '--cap-drop all' },
  'qemu-trap as process 1': { options: '--entrypoint /usr/local/bin/vm' },
  '--init': { options: '--init --entrypoint /usr/local/bin/vm' },
  'all of it': {
    options:
      '--read-only --tmpfs /run --tmpfs /tmp --tmpfs /var/tmp --user 1000:1000 -e HOME=/tmp --cap-drop all --init --entrypoint /usr/local/bin/vm',
  },
};

function testEngine(engine: Engine): void {
  const web = new Container(engine);
  const stopping = (what: string, body: () => Promise<void>): void => scenario(web, what, body);

  test('the image is built from the Containerfile as it is', () => {
    must(`cd ${checkout} && ${engine.command} build --network host -t ${image} -f examples/container/Containerfile .`);
  });

  stopping('run, stopped, started again and stopped: the guest heard its button each time', async () => {
    await web.run();
    web.stop();
    await web.wasClean();
    await web.start();
    web.stop();
    await web.wasClean();
  });

  stopping('--status says in the container that the guest runs', async () => {
    await web.run();
    assert.match(web.exec('qemu-trap --status web'), /^web +\d+ +\d+ +running /m);
    web.stop();
    await web.wasClean();
  });

  stopping('stopped twice at once: the guest has its time', async () => {
    await web.run({ behaviour: 'lingering' });
    must(`${engine.command} stop web & ${engine.command} stop web; wait`);
    await web.wasClean();
  });

  stopping('restarted: the guest shuts down before it is started again', async () => {
    await web.run();
    must(`${engine.command} restart web`);
    await until('it is up again', () => web.log.split('the VM is running').length > 2);
    assert.match(web.log, /clean shutdown[\s\S]*the VM is running/);
    await web.isUp();
    web.stop();
    await web.wasClean();
  });

  stopping('killed: the status is 137, and the next start works', async () => {
    await web.run();
    web.kill('KILL');
    assert.equal(await web.status(), 137);
    await web.start();
    web.stop();
    await web.wasClean();
  });

  stopping('a stop time that is too short: the engine kills it, 137', async () => {
    await web.run({ behaviour: 'stubborn' });
    web.stop('-t 2');
    assert.equal(await web.status(), 137);
    assert.ok(!web.guest.said('bye'));
  });

  stopping('a guest that does not heed its button: forced at --timeout, 124', async () => {
    await web.run({ behaviour: 'deaf', trap: '--timeout 2' });
    web.stop();
    assert.equal(await web.status(), 124);
    assert.match(web.log, /forced stop/);
  });

  stopping('SIGQUIT forces it, 124', async () => {
    await web.run({ behaviour: 'stubborn' });
    web.kill('QUIT');
    assert.equal(await web.status(), 124);
  });

  stopping(
    'a QEMU that crashes is started again by --restart on-failure; a guest that shut down stays down',
    async () => {
      await web.run({ options: '--restart on-failure:3' });
      web.guest.forget();
      // The container may be gone before the engine has heard how this ended.
      run(`${engine.command} exec web sh -c 'kill -ABRT $(cat /run/qemu-trap/web/qemu.pid)'`);
      await web.isUp();
      web.stop();
      await web.wasClean();
    },
  );

  for (const [what, how] of Object.entries(ways)) {
    stopping(`${what}: up, and stopped cleanly`, async () => {
      await web.run(how);
      web.stop();
      await web.wasClean();
    });
  }

  stopping('what a hook left is ended, and what exec started goes on', async () => {
    must('mkdir -p /srv/hooks');
    must(
      `printf '#!/bin/sh\\nsetsid sleep 600 >/dev/null 2>&1 3<&- &\\necho $! >/vm/left\\nuntil [ -e /vm/go-on ]; do sleep 0.05; done\\n' >/srv/hooks/leaves; chmod 755 /srv/hooks/leaves`,
    );
    must('rm -f /srv/web/left /srv/web/go-on');
    await web.run({ options: '-v /srv/hooks:/hooks', trap: '--signal USR1,script=/hooks/leaves' });
    web.kill('USR1');
    await until('the hook has left something', () => run('test -s /srv/web/left').status === 0);
    must(`${engine.command} exec -d web env -i sleep 601`);
    must('touch /srv/web/go-on');
    await until('the hook has ended', () => web.log.includes('/hooks/leaves succeeded'));
    const alive = (seconds: number): boolean =>
      run(`${engine.command} exec web sh -c 'ps -eo args | grep -q "^sleep ${seconds}"'`).status === 0;
    await until('what it left is ended', () => !alive(600));
    assert.ok(alive(601));
    web.stop();
    await web.wasClean();
  });
}

for (const engine of [podman, docker]) {
  describe(engine.name, () => {
    before(async () => {
      // The examples have KVM: a stand-in for the device file, which QEMU does not open here.
      must('[ -e /dev/kvm ] || mknod /dev/kvm c 1 3');
      await engine.begin();
    });
    after(() => engine.end());
    testEngine(engine);
    if (engine === podman) {
      testCompose('podman-compose', 'stop -t 90', engine);
      testPod();
    } else {
      testCompose('docker-compose', 'stop', engine);
      const web = new Container(engine);
      scenario(web, 'a shutdown of the daemon shuts the guest down', async () => {
        await web.run();
        await stopDocker();
        assert.ok(web.guest.said('bye'), 'the guest heard its button');
        await startDocker();
        await web.wasClean();
      });
    }
  });
}

after(report);
