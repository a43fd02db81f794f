import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, closeSync, constants, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { until } from '../test/support/lab.js';
import { environment, pause, wallClock } from './clock.js';

/** One VM's own folder. */
export interface Place {
  readonly name: string;
  /** A path in it. */
  file(name: string): string;
}

/** Who looks after one running QEMU. */
export interface Keeper {
  /** The process that stays beside QEMU for it alone; `null` where there is none. */
  readonly pid: number | null;
  /** Has the guest shut down, as its service manager would. */
  stop(): void;
  /** Settled when that process has ended, with the time on {@link wallClock}. */
  readonly exited: Promise<number> | null;
  /** Ends what is left. */
  clear(): Promise<void>;
}

/** What is compared: something that runs QEMU, and has its power button pressed when it is told to stop. */
export interface Contender {
  readonly name: string;
  begin(place: Place, qemu: readonly string[]): Keeper;
}

/** A command in QEMU's place, told to stop by SIGTERM. */
function wrapper(name: string, command: (place: Place, qemu: readonly string[]) => readonly string[]): Contender {
  return {
    name,
    begin: (place, qemu) => {
      const [file = '', ...words] = command(place, qemu);
      const stderr = openSync(place.file('stderr'), 'w');
      const child = spawn(file, words, { stdio: ['ignore', 'ignore', stderr], env: environment() });
      closeSync(stderr);
      const exited = new Promise<number>((settle) => {
        child.once('exit', () => settle(wallClock()));
        child.once('error', () => settle(wallClock()));
      });
      return {
        pid: child.pid ?? null,
        stop: () => void child.kill('SIGTERM'),
        exited,
        clear: async () => {
          // It goes with its QEMU, and has something to clear away then.
          await Promise.race([exited, pause(5_000)]);
          if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
          await exited;
        },
      };
    },
  };
}

/** Options of QEMU for a monitor that clients dial, of the kind that QEMU calls `mode`. */
function monitor(mode: 'control' | 'readline', path: string): readonly string[] {
  return ['-chardev', `socket,id=by-hand,path=${path},server=on,wait=off`, '-mon', `chardev=by-hand,mode=${mode}`];
}

const program = resolve('dist/qemu-trap.cjs');

function trap(name: string, options: (place: Place) => readonly string[]): Contender {
  return wrapper(name, (place, qemu) => [
    process.execPath,
    program,
    '--run-dir',
    place.file('run'),
    ...options(place),
    '--',
    ...qemu,
  ]);
}

/** The first hook that the README shows. */
function twoLineHook(place: Place): readonly string[] {
  const hooks = place.file('hooks');
  mkdirSync(hooks, { recursive: true });
  writeFileSync(
    join(hooks, 'SIGTERM'),
    '#!/bin/sh\nprintf \'{"execute":"qmp_capabilities"}\\n{"execute":"system_powerdown"}\\n\' >&3\n',
  );
  chmodSync(join(hooks, 'SIGTERM'), 0o755);
  return ['--hooks', hooks];
}

function byHand(name: string, tool: 'socat' | 'nc'): Contender {
  return wrapper(name, ({ file }, qemu) => [
    resolve('bench/by-hand.sh'),
    tool,
    file('human'),
    ...qemu,
    ...monitor('readline', file('human')),
  ]);
}

export const inProcess = trap('qemu-trap, in process', () => ['--signal', 'TERM,monitorcommand=system_powerdown']);
export const userHook = trap('qemu-trap, two-line hook', twoLineHook);
export const bundledHook = trap('qemu-trap, bundled hook', () => []);
export const floor = wrapper('C, a held connection', ({ file }, qemu) => [
  resolve('build/bench/floor'),
  file('qmp'),
  '--',
  ...qemu,
  ...monitor('control', file('qmp')),
]);
export const bashSocat = byHand('bash trap, socat', 'socat');
export const bashNc = byHand('bash trap, nc -U', 'nc');

export const bare = wrapper('QEMU alone', (_, qemu) => qemu);
export const dumbInit = wrapper('dumb-init', (_, qemu) => ['dumb-init', ...qemu]);
export const tini = wrapper('tini', (_, qemu) => ['tini', '-s', '--', ...qemu]);
export const bash = wrapper('bash', (_, qemu) => ['bash', '-c', '"$@" & wait', 'bash', ...qemu]);

/** A command of runsv(8), written to where it listens. */
function tell(service: string, commands: string): void {
  const fd = openSync(join(service, 'supervise/control'), constants.O_WRONLY | constants.O_NONBLOCK);
  writeSync(fd, commands);
  closeSync(fd);
}

/** runit, with a control script of the kind that its users write. */
export const runit: Contender = {
  name: 'runit control/t, socat',
  begin: (place, qemu) => {
    const { file } = place;
    const service = file('service');
    mkdirSync(join(service, 'control'), { recursive: true });
    const script = (name: string, text: string): void =>
      writeFileSync(join(service, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    script('run', `exec ${[...qemu, ...monitor('readline', file('human'))].map((word) => `'${word}'`).join(' ')}`);
    script('control/t', `echo system_powerdown | socat - UNIX-CONNECT:${file('human')} >/dev/null`);
    // Not again when it has ended.
    script('finish', `echo dx >${service}/supervise/control`);
    const keeper = wrapper(runit.name, () => ['runsv', service]).begin(place, qemu);
    return { ...keeper, stop: () => tell(service, 't') };
  },
};

/** libvirt's daemon in this box, for as long as `use` takes. */
export async function withLibvirt<T>(use: (pid: number) => Promise<T>): Promise<T> {
  const daemon = spawn('libvirtd', [], { stdio: 'ignore', env: environment() });
  const exited = new Promise((settle) => daemon.once('exit', settle));
  try {
    await until('libvirtd answers', () => spawnSync('virsh', ['list'], { stdio: 'ignore' }).status === 0);
    return await use(daemon.pid as number);
  } finally {
    daemon.kill('SIGTERM');
    await exited;
  }
}

function domain({ name, file }: Place, qemu: readonly string[]): string {
  return `<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
<name>${name}</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features>
<devices><emulator>/usr/bin/${qemu[0]}</emulator>
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='${file('guest.img')}'/><target dev='hda' bus='ide'/></disk>
<serial type='file'><source path='${file('serial')}'/><target port='0'/></serial>
<controller type='usb' model='none'/><memballoon model='none'/></devices>
<qemu:commandline>${qemu
    .slice(qemu.indexOf('-chardev'))
    .map((word) => `<qemu:arg value='${word}'/>`)
    .join('')}</qemu:commandline>
</domain>`;
}

/** A VM of libvirt's, told to shut down by its own command. */
export const libvirt: Contender = {
  name: 'virsh shutdown',
  begin: (place, qemu) => {
    writeFileSync(place.file('domain.xml'), domain(place, qemu));
    const created = spawnSync('virsh', ['create', place.file('domain.xml')], { encoding: 'utf8' });
    if (created.status !== 0) throw new Error(`virsh create: ${created.stderr}`);
    return {
      pid: null,
      stop: () => void spawn('virsh', ['shutdown', place.name], { stdio: 'ignore', env: environment() }),
      exited: null,
      clear: async () => void spawnSync('virsh', ['destroy', place.name], { stdio: 'ignore' }),
    };
  },
};
