import assert from 'node:assert/strict';
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdirSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { bootSector, guestSays, type PowerButtonBehaviour } from '../../src/commands/try/guest.js';
import { read, until } from '../support/lab.js';

/*
 * Real container engines, in a box: its file systems are gone with it.
 */

export const shared = process.env['BOX_SHARED'] ?? '';
/** What is committed. */
export const checkout = `${shared}/checkout`;
export const image = 'qemu-trap';
export const base = 'debian:12-slim';

/** Longer than any command of an engine may take, in milliseconds. */
const commandMs = 300_000;

export function run(line: string, env: NodeJS.ProcessEnv = {}): { status: number | null; output: string } {
  const { status, stdout } = spawnSync('sh', ['-c', `exec 2>&1 </dev/null; ${line}`], {
    encoding: 'utf8',
    timeout: commandMs,
    env: { ...process.env, ...env },
  });
  return { status, output: stdout };
}

/** The same, and it must succeed. */
export function must(line: string, env: NodeJS.ProcessEnv = {}): string {
  const { status, output } = run(line, env);
  assert.equal(status, 0, `${line}\n${output}`);
  return output.trim();
}

/** npm in a build stage needs this host's certificate, if it has one of its own. */
const change = process.env['NODE_EXTRA_CA_CERTS'] ? "--change 'ENV NODE_EXTRA_CA_CERTS=/etc/node-ca.crt'" : '';

export interface Engine {
  readonly name: string;
  /** The command that every other begins with. */
  readonly command: string;
  /** Makes it ready, without the image. */
  begin(): Promise<void>;
  end(): Promise<void>;
}

export const podman: Engine = {
  name: 'podman',
  command: 'podman',
  begin: async () => {
    mkdirSync('/etc/containers', { recursive: true });
    writeFileSync(
      '/etc/containers/containers.conf',
      '[engine]\ncgroup_manager="cgroupfs"\nevents_logger="file"\nruntime="crun"\n[containers]\npids_limit=0\n',
    );
    writeFileSync('/etc/containers/policy.json', '{"default":[{"type":"insecureAcceptAnything"}]}');
    writeFileSync(
      '/etc/containers/storage.conf',
      '[storage]\ndriver="overlay"\ngraphroot="/tmp/podman"\nrunroot="/run/containers/storage"\n',
    );
    must(`podman import ${change} ${shared}/base.tar docker.io/library/${base}`);
  },
  end: async () => undefined,
};

let daemon: ChildProcess | null = null;

export async function startDocker(): Promise<void> {
  const log = openSync('/tmp/dockerd.log', 'a');
  daemon = spawn(
    'dockerd',
    [
      ...['--data-root', '/tmp/docker', '--exec-root', '/run/docker', '--bridge=none', '--iptables=false'],
      ...['--ip6tables=false', '--ip-forward=false', '--ip-masq=false', '--shutdown-timeout=100'],
    ],
    { stdio: ['ignore', log, log] },
  );
  await until('dockerd answers', () => run('docker version').status === 0);
}

/** Its own way down: containers first. */
export async function stopDocker(): Promise<void> {
  const stopping = daemon;
  if (stopping === null) return;
  daemon = null;
  stopping.kill('SIGTERM');
  await until('dockerd has exited', () => stopping.exitCode !== null || stopping.signalCode !== null, 120_000);
}

export const docker: Engine = {
  name: 'docker',
  command: 'docker',
  begin: async () => {
    await startDocker();
    must(`docker import ${change} ${shared}/base.tar ${base}`);
  },
  end: stopDocker,
};

/** What QEMU is to run: the tiny guest, its disk and its serial line in /vm. */
export const qemuOptions =
  '-M pc -m 16 -display none -net none -serial file:/vm/serial -drive file=/vm/guest.img,format=raw,snapshot=on';

/** The guest of one container, in a folder that is mounted there as /vm. */
export class Guest {
  constructor(readonly dir: string) {
    mkdirSync(dir, { recursive: true, mode: 0o777 });
  }

  prepare(behaviour: PowerButtonBehaviour): void {
    must(`chmod 777 ${this.dir}`);
    writeFileSync(`${this.dir}/guest.img`, bootSector(behaviour), { mode: 0o644 });
    this.forget();
  }

  forget(): void {
    rmSync(`${this.dir}/serial`, { force: true });
  }

  said(words: keyof typeof guestSays): boolean {
    return read(`${this.dir}/serial`).includes(guestSays[words]);
  }

  async says(words: keyof typeof guestSays): Promise<void> {
    await until(`the guest says '${guestSays[words]}'`, () => this.said(words));
  }
}

/** How a container is run, beyond what every one is. */
export interface How {
  readonly behaviour?: PowerButtonBehaviour;
  /** Of `run`. */
  readonly options?: string;
  /** In $QEMU_TRAP_OPTIONS. */
  readonly trap?: string;
  /** Of the image. */
  readonly words?: string;
}

/** A container of the image. */
export class Container {
  constructor(
    readonly engine: Engine,
    private readonly name = 'web',
    readonly guest = new Guest('/srv/web'),
  ) {}

  #do(what: string): string {
    return must(`${this.engine.command} ${what}`);
  }

  /** Runs a new one, until its guest is up. */
  async run({ behaviour = 'obedient', options = '', trap = '', words = '' }: How = {}): Promise<void> {
    run(`${this.engine.command} rm -f ${this.name}`);
    this.guest.prepare(behaviour);
    this.#do(
      `run -d --name ${this.name} --network none --stop-timeout 90 -v /srv/web:/vm -e VM=web ` +
        `-e QEMU_OPTIONS='${qemuOptions}' -e QEMU_TRAP_OPTIONS='${trap}' ${options} ${image} ${words}`,
    );
    await this.isUp();
  }

  /** Starts it again. */
  async start(): Promise<void> {
    this.guest.forget();
    this.#do(`start ${this.name}`);
    await this.isUp();
  }

  async isUp(): Promise<void> {
    await this.guest.says('up').catch((error: Error) => {
      throw new Error(`${error.message}; the container's log:\n${this.log}`);
    });
  }

  exec(line: string): string {
    return this.#do(`exec ${this.name} ${line}`);
  }

  /** @returns how long it took, in milliseconds */
  stop(options = ''): number {
    const began = performance.now();
    this.#do(`stop ${options} ${this.name}`);
    return performance.now() - began;
  }

  kill(signal: string): void {
    this.#do(`kill -s ${signal} ${this.name}`);
  }

  inspect(field: string): string {
    return this.#do(`inspect -f '{{${field}}}' ${this.name}`);
  }

  /** Waits until it has exited. */
  async status(): Promise<number> {
    await until('the container has exited', () => this.inspect('.State.Status') === 'exited', 120_000);
    return Number(this.inspect('.State.ExitCode'));
  }

  /** The engine's status as it is now; `removed`: there is none. */
  get code(): string {
    const { status, output } = run(`${this.engine.command} inspect -f '{{.State.ExitCode}}' ${this.name}`);
    return status === 0 ? output.trim() : 'removed';
  }

  get log(): string {
    return run(`${this.engine.command} logs ${this.name}`).output;
  }

  /** The guest heard its button, and shut down; the container's status says so. */
  async wasClean(): Promise<void> {
    assert.equal(await this.status(), 0, this.log);
    assert.ok(this.guest.said('bye'), this.log);
    assert.match(this.log.trimEnd().split('\n').at(-1) ?? '', /clean shutdown: the guest powered off/);
  }

  remove(): void {
    this.#do(`rm -f ${this.name}`);
  }
}
