import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { until } from '../support/lab.js';
import { bootSector } from '../../src/commands/try/guest.js';
import { scenario } from './report.js';
import { checkout, Container, type Engine, Guest, must, qemuOptions, run } from './engine.js';

const project = '/srv/compose';

/**
 * The compose file of the examples, as its first lines say.
 * @param stop the command that gives the guest its time
 */
export function testCompose(command: string, stop: string, engine: Engine): void {
  const env = { COMPOSE_PROJECT_NAME: 'vm' };
  const web = new Container(engine, 'vm_web_1', new Guest('/srv/web'));

  const up = (options: string): void => {
    run(`${engine.command} rm -f vm_web_1`);
    must(`rm -rf ${project}; cp -r ${checkout} ${project}; cp ${checkout}/examples/container/compose.yaml ${project}`);
    writeFileSync(`${project}/web.qcow2`, '');
    // What this host has not: a network of containers, KVM, a disk with a system on it.
    const lines = [
      'services:',
      '  web:',
      '    network_mode: none',
      '    environment:',
      `      QEMU_OPTIONS: ${qemuOptions}`,
      `      QEMU_TRAP_OPTIONS: ${options}`,
      '    volumes:',
      '      - /srv/web:/vm',
    ];
    writeFileSync(`${project}/override.yaml`, `${lines.join('\n')}\n`);
    must(`cd ${project} && ${command} -f compose.yaml -f override.yaml up -d`, env);
  };

  scenario(web, `${command}: up, and a stop that shuts the guest down`, async () => {
    web.guest.prepare('obedient');
    up('--timeout 60');
    await web.isUp();
    must(`cd ${project} && ${command} -f compose.yaml -f override.yaml ${stop}`, env);
    await web.wasClean();
  });

  scenario(web, `${command}: a guest that needs more than the engine's own 10 s has them`, async () => {
    web.guest.prepare('stubborn');
    up('--timeout 12');
    await web.isUp();
    must(`cd ${project} && ${command} -f compose.yaml -f override.yaml ${stop}`, env);
    assert.equal(await web.status(), 124, web.log);
  });
}

/** The pod of the examples, as its first lines say. */
export function testPod(): void {
  const file = '/srv/pod.yaml';
  const inPod = 'web-web';
  const log = (): string => run(`podman logs ${inPod}`).output;

  test('podman kube play: up, and `podman pod stop` shuts the guest down', async () => {
    mkdirSync('/srv', { recursive: true });
    writeFileSync('/srv/web.qcow2', bootSector('obedient'));
    const pod = readFileSync(`${checkout}/examples/container/pod.yaml`, 'utf8').replace(
      /(name: QEMU_OPTIONS\n\s+value: ).*/,
      '$1-M pc -m 16 -display none -net none -serial stdio -drive file=/srv/web.qcow2,format=raw,snapshot=on',
    );
    writeFileSync(file, pod);
    must(`podman kube play --network none ${file}`);
    await until('the guest is up', () => log().includes('guest: up')).catch((error: Error) => {
      throw new Error(`${error.message}\n${log()}`);
    });
    must("podman exec web-web sh -c 'qemu-trap --status web | grep -qw running'");
    must('podman pod stop -t 90 web');
    assert.equal(must(`podman inspect -f '{{.State.ExitCode}}' ${inPod}`), '0', log());
    assert.match(log(), /guest: bye/);
    assert.match(log(), /clean shutdown: the guest powered off/);
    must('podman pod rm -f web');
  });
}
