import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, openSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { test } from 'node:test';
import { findProgram } from '../../src/qemu/helpers.js';
import { isAlive, Lab, program, read, Trap, until } from '../support/lab.js';

/*
 * qemu-trap under the name of a QEMU.
 */

const name = 'qemu-system-x86_64';
const real = findProgram(name, process.env) as string;

/** A folder with links to qemu-trap, first in $PATH. */
function dropIn(lab: Lab, ...more: readonly string[]): { readonly link: string; readonly env: NodeJS.ProcessEnv } {
  const bin = lab.file('bin');
  mkdirSync(bin);
  for (const each of [name, ...more]) symlinkSync(program, join(bin, each));
  const options = ['--run-dir', lab.runDir, '--state-dir', lab.file('state'), '--log', 'json', '--hooks', lab.hooks];
  const env = {
    ...process.env,
    PATH: `${bin}${delimiter}${process.env['PATH']}`,
    QEMU_TRAP_HOOKS: '',
    QEMU_TRAP_OPTIONS: options.map((word) => `'${word}'`).join(' '),
  };
  return { link: join(bin, name), env };
}

/** The guest's own options. */
const guestOf = (lab: Lab): string[] => lab.guest().slice(1);

const refuses = [
  [],
  ['-foo'],
  ['-m'],
  ['-m', 'much'],
  ['-machine', 'nosuch'],
  ['-device', 'nosuch'],
  ['-device', 'e1000,nosuch=1'],
  ['-drive', 'file=/nowhere/disk'],
  ['-drive', 'nosuch=1'],
  ['-cpu', 'nosuch'],
  ['-accel', 'nosuch'],
  ['-netdev', 'nosuch'],
  ['-chardev', 'socket,id=a,path=/nowhere/socket'],
  ['-readconfig', '/nowhere/config'],
  ['-kernel', '/nowhere/kernel'],
  ['/nowhere/disk'],
  ['--timeout', '5'],
  ['-signals', 'TERM'],
];
const says = [
  ['-version'],
  ['--version'],
  ['-h'],
  ['-help'],
  ['-machine', 'help'],
  ['-M', '?'],
  ['-cpu', 'help'],
  ['-device', 'help'],
  ['-device', 'e1000,help'],
  ['-netdev', 'help'],
  ['-chardev', 'help'],
  ['-object', 'help'],
  ['-accel', 'help'],
  ['-L', 'help'],
  ['-d', 'help'],
];

test('33 calls side by side with QEMU itself: byte for byte, status for status, and nothing is kept of them', (t) => {
  const lab = new Lab(t);
  const { link, env } = dropIn(lab);
  const calls = [...refuses.slice(1), ...says].map((words) => ['-display', 'none', ...words]);
  assert.ok(calls.length >= 30);
  for (const words of calls) {
    const [bare, ours] = [real, link].map((path) => {
      const { status, signal, stdout, stderr } = spawnSync(path, words, { env, encoding: 'utf8', input: '' });
      return { status, signal, stdout, stderr };
    });
    assert.deepEqual(ours, bare, words.join(' '));
  }
  assert.ok(!existsSync(lab.runDir));
  const kept = existsSync(lab.file('state')) ? readdirSync(lab.file('state')) : [];
  assert.deepEqual(kept, [], 'no history');
});

test('a QEMU that others only ask something is itself: -daemonize, -machine none, its descriptors and signals', async (t) => {
  const lab = new Lab(t);
  const { link, env } = dropIn(lab);
  // As libvirt asks (qemu_process.c of libvirt), with a socket, a pid file, and a QEMU that stays.
  for (const path of [real, link]) {
    const probe = [
      ...['-S', '-no-user-config', '-nodefaults', '-nographic', '-machine', 'none,accel=kvm:tcg'],
      ...['-qmp', `unix:${lab.file('probe')},server=on,wait=off`, '-pidfile', lab.file('pid'), '-daemonize'],
    ];
    const call = lab.spawn([path, ...probe], { env });
    const code = await new Promise((resolve) => call.on('exit', resolve));
    assert.equal(code, 0);
    const pid = Number(read(lab.file('pid')));
    assert.match(read(`/proc/${pid}/cmdline`), /^(\/\S*\/)?qemu-system-x86_64\0-S\0/, 'QEMU itself');
    process.kill(pid, 'SIGTERM');
    await until('it is gone', () => !isAlive(pid));
  }
  const stays = ['-machine', 'none', '-display', 'none', '-serial', 'none', '-add-fd', 'fd=5,set=1'];
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    const fifth = openSync('/dev/null', 'r');
    const call = lab.spawn([link, ...stays, '-qmp', 'stdio'], {
      env,
      stdio: ['pipe', 'pipe', 'pipe', null, null, fifth],
    });
    let said = '';
    call.stdout?.on('data', (chunk) => (said += chunk));
    await until('its monitor greets', () => said.includes('"QMP"'));
    const started = lab.left().filter((pid) => pid !== call.pid);
    const ended = new Promise((resolve) => call.on('exit', (code, by) => resolve(by ?? code)));
    call.kill(signal);
    assert.equal(await ended, signal === 'SIGTERM' ? 0 : 'SIGKILL');
    await until('QEMU is gone, too', () => !started.some(isAlive));
  }
  assert.ok(!existsSync(lab.file('state')), 'no history');
});

test('a VM: hooks, status, history, a pid file that leads to qemu-trap, and -signal as the proposal wrote it', async (t) => {
  const lab = new Lab(t);
  const { link, env } = dropIn(lab);
  lab.hook('SIGUSR1', '#!/bin/sh\nqmp query-status\n');
  const words = ['-name', 'web', '-pidfile', lab.file('pid'), '-signal', 'SIGTERM,monitorcommand=system_powerdown'];
  const trap = new Trap(lab, lab.spawn([link, ...guestOf(lab), ...words], { env, detached: true }));
  await trap.ready();
  await lab.guestSaid('up');
  await until('the file has our pid', () => read(lab.file('pid')) === `${trap.pid}\n`);
  const status = execFileSync(process.execPath, [program, '--status', '--run-dir', lab.runDir], { encoding: 'utf8' });
  assert.match(status, /^web +\d+ +\d+ +running/m);
  assert.match(read(`/proc/${trap.qemuPid}/cmdline`), new RegExp(`^${real}\0`), 'by its path as it was found');
  trap.kill('SIGUSR1');
  await trap.event('hook-end');
  process.kill(Number(read(lab.file('pid'))), 'SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
  assert.equal(lab.said('bye'), 1);
  assert.equal(trap.events('command')[0]?.['command'], 'system_powerdown');
  assert.ok(!existsSync(lab.file('pid')));
  assert.match(read(lab.file('state/web.history')), /"end":"guest-shutdown"/);
  const wrong = spawnSync(link, ['-signal', 'SIGTREM,script=a'], { env, encoding: 'utf8' });
  assert.equal(wrong.status, 125);
  assert.match(wrong.stderr, /^qemu-trap: -signal SIGTREM,script=a: unknown signal 'SIGTREM': write SIGTERM .*\n$/);
});

test('a QEMU that a signal ends, passed through, ends the drop-in with it: a crash is none of success', (t) => {
  const lab = new Lab(t);
  const { link, env } = dropIn(lab);
  mkdirSync(lab.file('crashing'));
  const crashing = join(lab.file('crashing'), name);
  const path = [lab.file('bin'), lab.file('crashing'), process.env['PATH']].join(delimiter);
  for (const signal of ['ABRT', 'SEGV', 'TERM', 'IO', 'KILL']) {
    writeFileSync(crashing, `#!/bin/sh\nkill -${signal} $$\nsleep 10\n`, { mode: 0o755 });
    const call = spawnSync(link, ['-version'], { env: { ...env, PATH: path } });
    assert.equal(call.signal, `SIG${signal}`);
  }
});

test('a script of the name of QEMU that calls the drop-in by its path is taken once, wherever it is in $PATH', (t) => {
  const lab = new Lab(t);
  const { link, env } = dropIn(lab);
  mkdirSync(lab.file('wrapping'));
  writeFileSync(join(lab.file('wrapping'), name), `#!/bin/sh\nexec ${link} "$@"\n`, { mode: 0o755 });
  for (const first of [
    ['wrapping', 'bin'],
    ['bin', 'wrapping'],
  ]) {
    const path = [...first.map((each) => lab.file(each)), process.env['PATH']].join(delimiter);
    const call = spawnSync(name, ['-version'], { env: { ...env, PATH: path }, encoding: 'utf8', timeout: 20_000 });
    assert.equal(call.status, 0, first.join());
    assert.match(call.stdout, /^QEMU emulator version/);
  }
});

const scripts: Readonly<Record<string, (path: string, words: string) => string>> = {
  'sh, by its name': (_, words) => `sh -c 'exec ${name} ${words}'`,
  'sh, by the path of the link': (path, words) => `sh -c 'exec ${path} ${words}'`,
  python: (_, words) => `python3 -c 'import os, sys; os.execvp("${name}", ["${name}"] + "${words}".split())'`,
  perl: (_, words) => `perl -e 'exec qw(${name} ${words})'`,
  sudo: (_, words) => `sudo --preserve-env=PATH,QEMU_TRAP_OPTIONS env PATH="$PATH" ${name} ${words}`,
};
for (const [what, script] of Object.entries(scripts))
  test(`a launch script stops its guest cleanly, unchanged: ${what}`, {
    skip:
      findProgram(what.split(',')[0] as string, process.env) === null
        ? `no ${what} here`
        : what === 'sudo' && process.getuid?.() !== 0
          ? 'needs root'
          : false,
  }, async (t) => {
    const lab = new Lab(t);
    const { link, env } = dropIn(lab);
    const file = lab.file('launch');
    writeFileSync(file, `#!/bin/sh\nexec ${script(link, guestOf(lab).join(' '))}\n`, { mode: 0o755 });
    const trap = new Trap(lab, lab.spawn([file], { env, detached: true }));
    await trap.ready();
    await lab.guestSaid('up');
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0, trap.stderr);
    assert.equal(lab.said('bye'), 1);
  });

test('negative control: the same script without the link cuts its guest off', async (t) => {
  const lab = new Lab(t);
  const child = lab.spawn(lab.guest());
  await lab.guestSaid('up');
  const exited = new Promise((resolve) => child.on('exit', resolve));
  child.kill('SIGTERM');
  assert.equal(await exited, 0);
  assert.equal(lab.said('bye'), 0);
});

test('qemu-trap, and another one, around a link to qemu-trap: one of them serves, and QEMU is started once', async (t) => {
  const lab = new Lab(t);
  const { env } = dropIn(lab);
  const wrapper = lab.file('wrapper');
  writeFileSync(wrapper, `#!/bin/sh\nexec ${name} "$@"\n`, { mode: 0o755 });
  for (const command of [name, wrapper]) {
    const trap = lab.start({ command: [command, ...guestOf(lab)], env: { PATH: env['PATH'] } });
    await trap.ready();
    await lab.guestSaid('up');
    const lines = execFileSync('ps', ['-eo', 'pid,args'], { encoding: 'utf8' });
    const qemus = lines.split('\n').filter((line) => line.includes(lab.serial) && line.includes(' -readconfig '));
    const served = new Set(qemus.flatMap((line) => /-readconfig (\S+)/.exec(line)?.[1] ?? []));
    assert.equal(served.size, 1, qemus.join('\n'));
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0, trap.stderr);
    await lab.assertNothingLeft();
  }
});

test('two installations find the real QEMU behind both their links; without one it is 127 and one line', (t) => {
  const lab = new Lab(t);
  const { link, env } = dropIn(lab);
  cpSync('dist', lab.file('other/dist'), { recursive: true });
  mkdirSync(lab.file('bin2'));
  symlinkSync(lab.file('other/dist/qemu-trap.cjs'), lab.file('qemu-trap'));
  symlinkSync(lab.file('qemu-trap'), join(lab.file('bin2'), name));
  const both = { ...env, PATH: `${lab.file('bin2')}${delimiter}${env['PATH']}` };
  for (const path of [link, join(lab.file('bin2'), name)]) {
    const { status, stdout } = spawnSync(path, ['-version'], { env: both, encoding: 'utf8' });
    assert.equal(status, 0);
    assert.match(stdout, /^QEMU emulator version/);
  }
  mkdirSync(lab.file('few'));
  for (const each of ['env', 'node']) symlinkSync(findProgram(each, process.env) as string, lab.file(`few/${each}`));
  const none = { ...env, PATH: [lab.file('bin'), lab.file('bin2'), lab.file('few')].join(delimiter) };
  const { status, stderr, stdout } = spawnSync(link, ['-version'], { env: none, encoding: 'utf8' });
  assert.deepEqual([status, stdout], [127, '']);
  assert.match(
    stderr,
    /^qemu-trap: \S+qemu-system-x86_64: this is qemu-trap, and there is no QEMU of that name in \$PATH: .*\n$/,
  );
  const called = spawnSync(process.execPath, [program, '--', name], { env: none, encoding: 'utf8' });
  assert.equal(called.status, 127);
  assert.match(called.stderr, /leads to qemu-trap itself/);
});

test('what cannot be used is told of, and the VM is served without it; a second one of the same name has one of its own', async (t) => {
  const lab = new Lab(t);
  const { link, env } = dropIn(lab);
  const state = `--state-dir ${lab.file('state')}`;
  const words = [...guestOf(lab), '-name', 'twin'];
  const start = (options: string): Trap =>
    new Trap(
      lab,
      lab.spawn([link, ...words], {
        env: { ...env, XDG_RUNTIME_DIR: lab.dir, QEMU_TRAP_OPTIONS: options },
        detached: true,
      }),
    );
  const first = start(`${state} --log json`);
  await first.ready();
  const second = start(`${state} --log json`);
  await second.ready();
  assert.deepEqual([first.log[0]?.['vm'], second.log[0]?.['vm']], ['twin', 'twin-2']);
  for (const trap of [first, second]) {
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0, trap.stderr);
  }
  for (const options of [
    `${state} --log 'json`,
    `${state} --check`,
    '--timeout never',
    'true',
    '-- env',
    '--name my vm',
  ]) {
    const trap = start(options);
    await until('it runs', () => /: the VM is running\n/.test(trap.stderr));
    assert.match(
      trap.stderr.split('\n')[0] ?? '',
      /warning: .*; the VM runs without \$QEMU_TRAP_OPTIONS and \$QEMU_TRAP_HOOKS$/,
      options,
    );
    trap.kill('SIGQUIT');
    assert.equal(await trap.status(), 124, trap.stderr);
  }
});

/** A /usr and a dpkg of its own: what is changed there is gone with it. */
const box = `set -e
mount -t tmpfs box "$0"
mkdir "$0/usr" "$0/usr.work" "$0/dpkg" "$0/dpkg.work"
mount -t overlay overlay -o "lowerdir=/usr,upperdir=$0/usr,workdir=$0/usr.work" /usr
mount -t overlay overlay -o "lowerdir=/var/lib/dpkg,upperdir=$0/dpkg,workdir=$0/dpkg.work" /var/lib/dpkg
exec sh -c "$1"`;

function inBox(lab: Lab, script: string): string {
  const dir = lab.file('box');
  if (!existsSync(dir)) mkdirSync(dir);
  const env = {
    ...process.env,
    PATH: `/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin`,
    trap: `${process.execPath} ${program}`,
  };
  const { stdout, stderr } = spawnSync(
    'unshare',
    ['--mount', '--propagation', 'private', 'sh', '-c', box, dir, script],
    {
      encoding: 'utf8',
      env,
      cwd: '/',
    },
  );
  return stdout + stderr;
}

const canBox =
  process.getuid?.() === 0 && findProgram('dpkg-divert', process.env) !== null && /^ok$/m.test(inBoxProbe());
function inBoxProbe(): string {
  const { stdout } = spawnSync(
    'unshare',
    [
      '--mount',
      '--propagation',
      'private',
      'sh',
      '-c',
      'd=$(mktemp -d); mount -t tmpfs box $d && mkdir $d/a $d/b && mount -t overlay overlay -o lowerdir=/usr,upperdir=$d/a,workdir=$d/b /usr && echo ok; umount $d; rmdir $d',
    ],
    { encoding: 'utf8' },
  );
  return stdout;
}

test('--drop-in turns it on for a host, for paths too, and off again, and leaves nothing', {
  skip: canBox ? false : 'needs root, mounts and dpkg',
}, (t) => {
  const lab = new Lab(t);
  const said = inBox(
    lab,
    // Without the number of links: an overlay file system breaks hard links.
    `look() { ls -l /usr/bin /usr/libexec /usr/local/bin | sed 's/^\\(\\S*\\) *[0-9]*/\\1/' | cksum; }
before=$(look)
$trap --drop-in on
echo "by name: $(command -v ${name}) $(readlink -f $(command -v ${name}))"
${name} -version | head -n 1
$trap --drop-in divert
echo "by path: $(readlink -f /usr/bin/${name})"
/usr/bin/${name} -version | head -n 1
/usr/bin/kvm -foo
/usr/bin/${name} -device nosuch -display none
$trap --drop-in off
[ "$before" = "$(look)" ] && echo as it was
dpkg-divert --list | grep -c qemu-trap
$trap --drop-in off`,
  );
  assert.match(said, new RegExp(`^by name: /usr/local/bin/${name} ${program}$`, 'm'));
  assert.match(said, new RegExp(`^by path: ${program}$`, 'm'));
  assert.equal([...said.matchAll(/^QEMU emulator version/gm)].length, 2);
  assert.match(said, /^kvm: -foo: invalid option$/m);
  assert.match(said, new RegExp(`^${name}: -device nosuch: 'nosuch' is not a valid device model name$`, 'm'));
  assert.match(said, /^as it was\n0\nqemu-trap is no drop-in on this host\n/m);
});

test('--drop-in divert goes on where it was interrupted, and diverts a link with what it leads to, or not at all', {
  skip: canBox ? false : 'needs root, mounts and dpkg',
}, (t) => {
  const lab = new Lab(t);
  const said = inBox(
    lab,
    `exec 2>&1
$trap --drop-in divert >/dev/null
rm /usr/bin/${name}
$trap --drop-in divert | grep "/usr/bin/${name} "
/usr/bin/${name} -version | head -n 1
$trap --drop-in off >/dev/null
printf '#!/bin/sh\\necho something else\\n' >/usr/libexec/${name}; chmod 755 /usr/libexec/${name}
$trap --drop-in divert | grep -e "/usr/bin/${name} " -e /kvm
/usr/bin/kvm -foo
$trap --drop-in off >/dev/null; rm /usr/libexec/${name}
dpkg-divert --package other --divert /usr/bin/${name}.distrib --rename --add /usr/bin/${name} >/dev/null; ln -s ${name}.distrib /usr/bin/${name}
$trap --drop-in divert | grep -e "/usr/bin/${name} " -e /kvm; $trap --drop-in divert >/dev/null; echo "status $?"
/usr/bin/kvm -version | head -n 1`,
  );
  assert.match(said, new RegExp(`^/usr/bin/${name} leads to ${program}\nQEMU emulator version`));
  assert.match(said, new RegExp(`/usr/bin/${name} was not changed: /usr/libexec/${name} exists already`));
  assert.match(said, new RegExp(`/usr/bin/kvm was not changed: /usr/bin/${name} is not diverted\nkvm: -foo: invalid`));
  assert.match(said, new RegExp(`/usr/bin/${name} was not changed: it is diverted already`));
  assert.match(said, /status 0\nQEMU emulator version.*\n$/);
});

test('--drop-in is refused on a host with libvirt or Proxmox, and links that lead nowhere are removed', {
  skip: canBox ? false : 'needs root, mounts and dpkg',
}, (t) => {
  const lab = new Lab(t);
  const said = inBox(
    lab,
    `for manager in libvirtd qm; do
    printf '#!/bin/sh\\n' >/usr/sbin/$manager; chmod 755 /usr/sbin/$manager
    $trap --drop-in on 2>&1; echo "status $?"
    rm /usr/sbin/$manager
done
printf '#!/bin/sh\\n' >/usr/sbin/libvirtd; chmod 755 /usr/sbin/libvirtd
$trap --drop-in on --force | head -n 1
$trap --drop-in off >/dev/null
ln -s /nowhere/qemu-trap /usr/local/bin/${name}; ln -s /nowhere/qemu /usr/local/bin/kvm
$trap --drop-in off
ls -d /usr/local/bin/${name} /usr/local/bin/kvm`,
  );
  assert.match(said, /this host has libvirt \(libvirtd\).*\nstatus 125/);
  assert.match(said, /this host has Proxmox VE \(qm\).*\nstatus 125/);
  assert.match(said, /^\/usr\/local\/bin\/\S+ leads to /m);
  assert.match(said, new RegExp(`^/usr/local/bin/${name} is removed\n/usr/local/bin/kvm\n`, 'm'));
});
