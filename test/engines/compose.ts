import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { until } from '../support/lab.js';
import { bootSector, guestSays } from '../../src/commands/try/guest.js';
import { scenario } from './report.js';
import { checkout, Container, type Engine, Guest, image, must, podman, qemuOptions, run } from './engine.js';

/** Its last part is in the container's name. */
const project = '/srv/compose/vm';

/**
 * A network namespace for what an engine sets up for its containers: a box has the network of the host.
 */
const apart = 'nsenter --net=/run/netns/compose';

/** What Debian makes as it installs iptables, for netavark; packages are only unpacked here. */
const linkIptables =
  'for name in iptables ip6tables; do for of in "" -save -restore; do ' +
  '[ -e /usr/sbin/$name$of ] || ln -s xtables-nft-multi /usr/sbin/$name$of; done; done';

/**
 * The compose file of the examples, as its first lines say.
 * @param stop the command that gives the guest its time
 */
export function testCompose(command: string, stop: string, engine: Engine): void {
  const isPodman = engine.command === 'podman';
  const compose = `${isPodman ? `${apart} ` : ''}${command} -f compose.yaml -f override.yaml`;
  const web = new Container(engine, 'vm_web_1', new Guest('/srv/compose-web'));

  let upOutput = '';
  const isUp = (): Promise<void> =>
    web.isUp().catch((error: Error) => {
      throw new Error(`${error.message}; ${command} up:\n${upOutput}`);
    });
  const up = (options: string): void => {
    run(`${engine.command} rm -f vm_web_1`);
    must(
      `rm -rf ${project}; mkdir -p ${project}/..; cp -a ${checkout} ${project}; cp ${checkout}/examples/container/compose.yaml ${project}`,
    );
    writeFileSync(`${project}/web.qcow2`, '');
    // What this host has not: a network of containers, KVM, a disk with a system on it.
    const lines = [
      'services:',
      '  web:',
      // What was built of the same Containerfile before.
      `    image: ${image}`,
      // podman-compose 1.0 gives each container a network of its own besides.
      ...(isPodman ? [] : ['    network_mode: none']),
      '    environment:',
      `      QEMU_OPTIONS: ${qemuOptions}`,
      `      QEMU_TRAP_OPTIONS: ${options}`,
      '    volumes:',
      '      - /srv/compose-web:/vm',
    ];
    writeFileSync(`${project}/override.yaml`, `${lines.join('\n')}\n`);
    upOutput = must(
      `[ -e /run/netns/compose ] || ip netns add compose; ${linkIptables}; cd ${project} && ${compose} up -d`,
    );
  };

  scenario(web, `${command}: up, and a stop that shuts the guest down`, async () => {
    web.guest.prepare('obedient');
    up('--timeout 60');
    await isUp();
    must(`cd ${project} && ${compose} ${stop}`);
    await web.wasClean();
  });

  scenario(web, `${command}: a guest that needs more than the engine's own 10 s has them`, async () => {
    web.guest.prepare('stubborn');
    up('--timeout 12');
    await isUp();
    must(`cd ${project} && ${compose} ${stop}`);
    assert.equal(await web.status(), 124, web.log);
  });

  scenario(web, `${command}: restart shuts the guest down before it is started again`, async () => {
    web.guest.prepare('obedient');
    up('--timeout 60');
    await isUp();
    must(`cd ${project} && ${compose} restart`);
    await until('it is up again', () => web.log.split('the VM is running').length > 2);
    assert.match(web.log, /clean shutdown[\s\S]*the VM is running/);
    must(`cd ${project} && ${compose} ${stop}`);
    await web.wasClean();
  });

  scenario(web, `${command}: down shuts the guest down, and removes the container`, async () => {
    web.guest.prepare('obedient');
    up('--timeout 60');
    await isUp();
    must(`cd ${project} && ${compose} down`);
    assert.ok(web.guest.said('bye'));
    assert.notEqual(run(`${engine.command} inspect vm_web_1`).status, 0);
  });

  // podman-compose 1.0 has no such command.
  if (!isPodman)
    scenario(web, `${command}: kill -s SIGQUIT forces the end, and on-failure starts it again`, async () => {
      web.guest.prepare('obedient');
      up('--timeout 60');
      await isUp();
      must(`cd ${project} && ${compose} kill -s SIGQUIT`);
      await until('it is up again', () => web.log.split('the VM is running').length > 2);
      assert.match(web.log, /forced stop[\s\S]*exit status 124[\s\S]*the VM is running/);
      await isUp();
      must(`cd ${project} && ${compose} ${stop}`);
      await web.wasClean();
    });

  // One that its policy may start again must not be there when others are looked at.
  test(`${command}: down`, () => void must(`cd ${project} && ${compose} down`));
}

/** The pod of the examples, as its first lines say. */
export function testPod(): void {
  const file = '/srv/pod.yaml';
  const log = (): string => run('podman logs web-web').output;
  const web = {
    engine: podman,
    guest: { said: (words: keyof typeof guestSays) => log().includes(guestSays[words]) },
    get code(): string {
      return must("podman inspect -f '{{.State.ExitCode}}' web-web");
    },
  };

  scenario(web, 'kube play, and pod stop: the guest shuts down', async () => {
    writeFileSync('/srv/web.qcow2', bootSector('obedient'));
    const pod = readFileSync(`${checkout}/examples/container/pod.yaml`, 'utf8').replace(
      /(name: QEMU_OPTIONS\n\s+value: ).*/,
      '$1-M pc -m 16 -display none -net none -serial stdio -drive file=/srv/web.qcow2,format=raw,snapshot=on',
    );
    writeFileSync(file, pod);
    run('podman pod rm -f web');
    run('podman rm -f web');
    must(`podman kube play --network none ${file}`);
    await until('the guest is up', () => web.guest.said('up')).catch((error: Error) => {
      throw new Error(`${error.message}\n${log()}`);
    });
    await until('it is ready', () => run(`podman exec web-web ${probe}`).status === 0);
    must('podman pod stop -t 90 web');
    assert.equal(web.code, '0', log());
    assert.ok(web.guest.said('bye'), log());
    assert.match(log(), /clean shutdown: the guest powered off/);
  });
}

/** The readiness probe of the pod. */
const probe = "sh -c 'qemu-trap --status web | grep -qw running'";
