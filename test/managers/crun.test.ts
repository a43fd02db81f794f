import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { test } from 'node:test';
import { isAlive, read, until } from '../support/lab.js';
import { boxed } from './box.js';
import { background, examples, must, sh, testManager, type Manager, type Vm } from './vm.js';

/*
 * The container example under a real OCI runtime. No image can be built here: what the Containerfile says of the
 * container's entry point, and the program it copies there, is what runs, on this system's own files.
 */

const containerfile = readFileSync(`${examples}/container/Containerfile`, 'utf8');
const entryPoint = JSON.parse(/^ENTRYPOINT (.*)$/m.exec(containerfile)?.[1] ?? '') as string[];
const stopSignal = /^STOPSIGNAL SIG(\w+)$/m.exec(containerfile)?.[1] ?? '';
const [, copied = '', entryProgram = ''] = /^COPY (\S+) (\/usr\/local\/bin\/\S+)$/m.exec(containerfile) ?? [];

/** In the box's own file system, and gone with it: the whole of that is mounted in there. */
const folder = '/var/lib/qemu-trap-crun';
const bundle = `${folder}/bundle`;
const log = `${folder}/log`;
const statusFile = `${folder}/status`;

interface Mount {
  readonly destination: string;
  readonly type?: string;
  readonly source: string;
  readonly options?: readonly string[];
}

function bind(path: string): Mount {
  return { destination: path, type: 'bind', source: path, options: ['rbind', 'rw'] };
}

/** What `crun spec` proposes, with the example's entry point, and without what no image asks for. */
function configure(args: readonly string[]): void {
  rmSync(`${bundle}/config.json`, { force: true });
  must(`cd ${bundle} && crun spec`);
  const config = JSON.parse(readFileSync(`${bundle}/config.json`, 'utf8'));
  const settings = (name: string): string => must(`. /etc/qemu-trap/web.conf && printf %s "$${name}"`);
  config.process.args = args;
  config.process.terminal = false;
  config.process.env = [
    `PATH=${process.env['PATH']}`,
    'VM=web',
    ...['QEMU_OPTIONS', 'QEMU_TRAP_OPTIONS'].map((name) => `${name}=${settings(name)}`),
  ];
  delete config.process.rlimits;
  delete config.linux.resources;
  config.root = { path: `${bundle}/rootfs`, readonly: false };
  const node = dirname(process.execPath);
  const mine = [resolve('.'), '/tmp', ...(node.startsWith('/usr/') ? [] : [node])];
  config.mounts = [
    ...(config.mounts as Mount[]),
    ...mine.map(bind),
    { destination: '/run', type: 'tmpfs', source: 'tmpfs' },
  ];
  writeFileSync(`${bundle}/config.json`, JSON.stringify(config));
}

function container(
  name: string,
  args: readonly string[],
  afterwards: (vm: Vm, start: (options: string) => Promise<void>) => void,
): void {
  const manager: Manager = {
    name,
    logs: () => [log],
    setUp: () => void must(`install -m 755 ${copied} ${entryProgram}`),
    start: () => {
      sh('crun delete -f web');
      rmSync(statusFile, { force: true });
      configure(args);
      background('sh', '-c', `crun run -b ${bundle} web </dev/null >>${log} 2>&1; echo $? >${statusFile}`);
    },
    askToStop: () => void must(`crun kill web ${stopSignal}`),
    saysDown: () => read(statusFile) === '0\n',
    impatient: () => undefined,
    patient: () => assert.equal(read(statusFile), '137\n'),
    // As every engine does.
    stopOrKill: () =>
      void must(
        `crun kill web ${stopSignal}; sleep 1; crun kill web KILL; while ! [ -s ${statusFile} ]; do sleep 0.1; done`,
      ),
    afterCrash: 'stays down',
    // Every process of it gets the signal, QEMU too: as from a host that goes down.
    shutDown: () => void sh(`crun kill --all web ${stopSignal}`),
  };
  const vm = testManager(manager);
  afterwards(vm, async (options) => {
    vm.configure('obedient', options);
    await manager.start();
    await vm.says('up');
  });

  test(`${name}: a QEMU that crashes ends the container, with a status that says so`, async () => {
    vm.configure();
    await manager.start();
    await vm.says('up');
    process.kill(vm.qemus[0] as number, 'SIGABRT');
    await until('the container has ended', () => read(statusFile) !== '');
    assert.equal(read(statusFile), '134\n');
    await vm.gone();
  });
}

/** The processes that the hook below leaves, as /proc/PID/stat has their state. */
function orphans(): string[] {
  return readdirSync('/proc')
    .map((pid) => /^\d+ \(sleep\) (.)/.exec(read(`/proc/${pid}/stat`))?.[1] ?? '')
    .filter((state) => state !== '');
}

const hook = `${folder}/orphans`;
const born = `${folder}/born`;
const goOn = `${folder}/go-on`;
const execPid = `${folder}/exec.pid`;

function testOrphans(
  name: string,
  first: 'reaps' | 'does not reap',
): (vm: Vm, start: (options: string) => Promise<void>) => void {
  return (vm, start) => {
    test(`${name}: what a hook has left is ended${first === 'reaps' ? ' and reaped' : ', and stays a zombie: the pages ask for an init'}`, async () => {
      writeFileSync(
        hook,
        `#!/bin/sh\n(setsid sh -c 'echo >${born}; exec sleep 600' &)\nuntil [ -e ${born} ] && [ -e ${goOn} ]; do :; done\n`,
        { mode: 0o755 },
      );
      for (const old of [born, goOn, log]) rmSync(old, { force: true });
      await start(`--signal USR1,script=${hook}`);
      process.kill(vm.traps[0] as number, 'SIGUSR1');
      await until('the hook has left something', () => existsSync(born));
      must(
        `crun exec -d --pid-file ${execPid} web /usr/bin/env -i /usr/bin/tail -f /dev/null </dev/null >/dev/null 2>&1`,
      );
      writeFileSync(goOn, '');
      await until('the hook has ended', () => vm.log.includes('orphans succeeded'));
      await until('what it left is ended', () => orphans().join('') === (first === 'reaps' ? '' : 'Z'));
      const execed = Number(read(execPid));
      assert.ok(isAlive(execed), 'what crun exec started meanwhile goes on');
      process.kill(execed, 'SIGKILL');
      must(`crun kill web ${stopSignal}`);
      await until('the container is down', () => read(statusFile) === '0\n');
      await vm.wasClean();
    });
  };
}

boxed('tini', 'crun', () => {
  test('crun: the example says what runs', () => {
    assert.deepEqual(entryPoint.slice(0, 2), ['/usr/bin/tini', '--']);
    assert.equal(stopSignal, 'TERM');
    assert.ok(existsSync(copied));
    mkdirSync(`${bundle}/rootfs`, { recursive: true });
    must(`mount --bind / ${bundle}/rootfs`);
  });
  container('crun with tini', entryPoint, testOrphans('crun with tini', 'reaps'));
  container(
    'crun, qemu-trap as process 1',
    entryPoint.slice(2),
    testOrphans('crun, qemu-trap as process 1', 'does not reap'),
  );
});
