import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, lchownSync, linkSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { openLog } from '../src/log.js';
import { plainJson, plainText } from '../src/plain-text.js';
import { baitRunDir, Lab, program, read, until } from './lab.js';

/*
 * What another user of the host tries. User 65534 stands for them all.
 */

const nobody = 65534;
const notRoot = { skip: process.geteuid?.() === 0 ? false : 'only root can make files of others' };

/** A directory of another user. */
function theirs(lab: Lab, name: string): string {
  const path = lab.file(name);
  mkdirSync(path);
  chownSync(path, nobody, nobody);
  return path;
}

test('--state-dir in the hands of another user: refused in one line, and no link of theirs is followed', notRoot, async (t) => {
  const lab = new Lab(t);
  const own = lab.file('own');
  writeFileSync(own, 'mine');
  const directory = theirs(lab, 'theirs');
  for (const name of ['vm.state', 'vm.state.part', 'vm.state.part.cat', 'vm.history']) {
    symlinkSync(own, `${directory}/${name}`);
    lchownSync(`${directory}/${name}`, nobody, nobody);
  }
  mkdirSync(lab.file('open'));
  chmodSync(lab.file('open'), 0o777);
  mkdirSync(lab.file('sticky'));
  chmodSync(lab.file('sticky'), 0o1777);
  symlinkSync(directory, lab.file('link'));
  for (const [path, says] of [
    [directory, /belongs to user 65534/],
    [`${directory}/deep/er`, /on its way \S*theirs belongs to user 65534/],
    [lab.file('open'), /it can be written by everybody \(mend it: chmod go-w /],
    [lab.file('sticky'), /it can be written by everybody/],
    [lab.file('link'), /belongs to user 65534/],
  ] as const) {
    const trap = lab.start({ options: ['--state-dir', path, '--name', 'vm', '--signal', 'TERM,script=save'], log: 'text' });
    assert.equal(await trap.status(), 125, path);
    assert.match(trap.stderr, /^qemu-trap: state directory [^\n]+\n$/);
    assert.match(trap.stderr, says);
  }
  assert.equal(read(own), 'mine');
});

test('the default state directory in the hands of another user: a warning, and the VM runs without a history', notRoot, async (t) => {
  const lab = new Lab(t);
  chmodSync(lab.dir, 0o755);
  mkdirSync(lab.file('home'));
  chownSync(lab.file('home'), nobody, nobody);
  mkdirSync(lab.file('state-home'));
  chownSync(lab.file('state-home'), 12345, 12345);
  chmodSync(lab.file('state-home'), 0o777);
  const words = [process.execPath, lab.ownCopy(), '--run-dir', lab.file('home/run'), '--log', 'json', '--name', 'vm', '--signal', 'TERM,script=save', '--timeout', '20', '--'];
  const command = lab.guest().map((word) => (word.startsWith('file:') ? `file:${lab.file('home/serial')}` : word));
  chmodSync(lab.file('obedient.img'), 0o644);
  const child = lab.spawn(['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups', ...words, ...command], { env: { XDG_STATE_HOME: lab.file('state-home'), QEMU_TRAP_HOOKS: '' } });
  let log = '';
  child.stderr?.on('data', (chunk) => (log += chunk));
  await until('the guest is up', () => read(lab.file('home/serial')).includes('guest: up'));
  child.kill('SIGTERM');
  await until('it has ended', () => child.exitCode !== null);
  assert.equal(child.exitCode, 0, log);
  assert.match(log, /"event":"state-distrusted","level":"warning"/);
  assert.match(log, /"end":"guest-shutdown"/);
  assert.ok(!existsSync(lab.file('state-home/qemu-trap')));
});

test('a history that is another name of a file is not written to', notRoot, async (t) => {
  const lab = new Lab(t);
  mkdirSync(lab.file('state'), { mode: 0o700 });
  writeFileSync(lab.file('own'), 'mine');
  linkSync(lab.file('own'), lab.file('state/vm.history'));
  const trap = await lab.startGuest({ options: ['--name', 'vm'] });
  await trap.event('history-failed');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(read(lab.file('own')), 'mine');
});

function check(hooks: string, ...more: string[]): { stdout: string; status: number | null } {
  const { stdout, status } = spawnSync(process.execPath, [program, '--check', '--hooks', hooks, ...more], { encoding: 'utf8', env: { ...process.env, QEMU_TRAP_HOOKS: '' } });
  return { stdout, status };
}

const hasAccessLists = { skip: notRoot.skip || (spawnSync('setfacl', ['--version']).status === 0 ? false : 'no setfacl here') };

test('a hook that an access control list lets another user write to is not run', hasAccessLists, (t) => {
  const lab = new Lab(t);
  const hook = lab.hook('SIGUSR1', '#!/bin/sh\nexit 0\n');
  chmodSync(hook, 0o775);
  assert.equal(check(lab.hooks).status, 0, 'its own group may write to it');
  execFileSync('setfacl', ['-m', `u:${nobody}:rw`, hook]);
  const { stdout, status } = check(lab.hooks);
  assert.equal(status, 125);
  assert.match(stdout, /SIGUSR1: it can be written by whoever its access control list names; mend it: setfacl -b /);
});

test('a store of hooks that is sticky is as good as its files: root:group 1775', notRoot, (t) => {
  const lab = new Lab(t);
  chownSync(lab.hooks, 0, nobody);
  chmodSync(lab.hooks, 0o1775);
  const hook = lab.hook('SIGUSR1', '#!/bin/sh\nexit 0\n');
  assert.equal(check(lab.hooks).status, 0, check(lab.hooks).stdout);
  chownSync(hook, nobody, nobody);
  assert.match(check(lab.hooks).stdout, /SIGUSR1: it belongs to user 65534/);
  chmodSync(lab.hooks, 0o775);
  chownSync(hook, 0, 0);
  assert.match(check(lab.hooks).stdout, /its directory \S+ can be written by group 65534/);
});

test('a hook on a file system without exec is told as that', notRoot, (t) => {
  const lab = new Lab(t);
  const script = `mount -t tmpfs -o noexec tmpfs '${lab.hooks}' && printf '#!/bin/sh\\n' >'${lab.hooks}/SIGUSR1' && chmod 755 '${lab.hooks}' '${lab.hooks}/SIGUSR1' && exec "$@"`;
  const { stdout, status } = spawnSync('unshare', ['--mount', 'sh', '-c', script, 'sh', process.execPath, program, '--check', '--hooks', lab.hooks], { encoding: 'utf8', env: { ...process.env, QEMU_TRAP_HOOKS: '' } });
  assert.equal(status, 125);
  assert.match(stdout, /SIGUSR1: it lies on a file system that runs no programs \(noexec\)/);
});

test('a directory of steps that cannot be read is told as that, and not as empty', notRoot, (t) => {
  const lab = new Lab(t);
  chmodSync(lab.dir, 0o755);
  mkdirSync(`${lab.hooks}/SIGTERM.d`, { mode: 0o700 });
  lab.hook('SIGTERM.d/10-a', '#!/bin/sh\nexit 0\n');
  const { stdout } = spawnSync('setpriv', [`--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups', process.execPath, lab.ownCopy(), '--check', '--hooks', lab.hooks], { encoding: 'utf8', env: { ...process.env, QEMU_TRAP_HOOKS: '' } });
  assert.match(stdout, /SIGTERM\.d: it cannot be read \(EACCES\); mend it: chmod 755 /);
  assert.doesNotMatch(stdout, /no executable is in it/);
});

test("root's --status gives no advice that another user has written", notRoot, (t) => {
  const bait = baitRunDir(t);
  const now = performance.now();
  const status = (uid: number): string => {
    writeFileSync(`${bait}/status.json`, `${JSON.stringify({ vm: 'x\u001b[31m', guest: 'running', serving: [{ signal: 'SIGTERM', waitsFor: 'guest', since: 0, until: now + 1e9, next: 'quit' }], history: null, warning: 'run this: rm -rf /' })}\n`);
    for (const path of [bait, `${bait}/status.json`]) chownSync(path, uid, uid);
    writeFileSync(`${bait}/qemu.id`, read(`${bait}/lock`));
    return spawnSync(process.execPath, [program, '--status', '--run-dir', bait], { encoding: 'utf8' }).stdout;
  };
  assert.match(status(0), /kill -QUIT/);
  assert.match(status(0), /rm -rf/);
  assert.match(status(nobody), /uid 65534/);
  assert.doesNotMatch(status(nobody), /kill -QUIT|rm -rf|\u001b/);
});

test('without /proc: the VM runs and is shut down, a line says what cannot be told, and --status says that it cannot', notRoot, async (t) => {
  const lab = new Lab(t);
  const without = ['unshare', '--mount', 'sh', '-c', 'mount -t tmpfs none /proc && exec "$@"', 'sh'];
  const trap = await lab.startGuest({ through: without });
  await trap.event('no-proc');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
  assert.equal(lab.said('bye'), 1);
  const [command = '', ...words] = [...without, process.execPath, program, '--status'];
  const { status, stderr } = spawnSync(command, words, { encoding: 'utf8' });
  assert.equal(status, 125);
  assert.match(stderr, /^qemu-trap: --status: no \/proc is mounted here[^\n]*\n$/);
});

test('a run directory on a file system that is read-only is told as that', notRoot, (t) => {
  const lab = new Lab(t);
  mkdirSync(lab.file('ro'));
  const { status, stderr } = spawnSync('unshare', ['--mount', 'sh', '-c', `mount -t tmpfs -o ro none '${lab.file('ro')}' && exec "$@"`, 'sh', process.execPath, program, '--run-dir', lab.file('ro/a/b'), '--state-dir', lab.file('state'), '--', 'true'], { encoding: 'utf8' });
  assert.equal(status, 125);
  assert.match(stderr, /^qemu-trap: run directory [^\n]*\(EROFS\)[^\n]*\n$/);
});

test("a last option of QEMU without its value does not swallow ours: one line, and a fault of --check", async (t) => {
  const lab = new Lab(t);
  const trap = lab.start({ qemu: ['-pidfile'], log: 'text' });
  assert.equal(await trap.status(), 125);
  assert.match(trap.stderr, /^qemu-trap: QEMU's -pidfile: its value is missing[^\n]*\n$/);
  assert.ok(!existsSync('-readconfig'));
  assert.match(check(lab.hooks, '--', 'qemu-system-x86_64', '-m', '16', '-pidfile').stdout, /QEMU's -pidfile: its value is missing/);
  const named = await lab.startGuest({ qemu: ['-name', '-pidfile'] });
  named.kill('SIGTERM');
  assert.equal(await named.status(), 0);
});

const nasty = 'a\u001b[2Jb\u009bc\u2028d\u202ee\u2066f\u0007g\rh';

test('text from outside reaches a log without control characters, separators, or marks of direction', () => {
  assert.equal(plainText(nasty), 'a?[2Jb?c?d?e?f?g\nh');
  assert.equal(plainText('tab\tand\nfeed, äöü 日本 👍'), 'tab\tand\nfeed, äöü 日本 👍');
  const json = plainJson(JSON.stringify({ nasty }));
  assert.deepEqual(JSON.parse(json), { nasty });
  assert.doesNotMatch(json, /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/u);
  for (const format of ['text', 'json'] as const) {
    let written = '';
    const log = openLog({ format, priorities: false, vm: nasty }, (text) => (written += text));
    log({ event: 'x', level: 'info', message: nasty, facts: { fact: nasty } });
    // Cut in the middle of a character.
    const bytes = Buffer.from(`${nasty}\n`);
    for (const byte of bytes) log.hookOutput('/hook', Buffer.from([byte]));
    log.hookOutput('/hook', Buffer.alloc(0));
    log.flush();
    assert.doesNotMatch(written, /[^\P{Cc}\n]|[\u2028\u2029\u202a-\u202e\u2066-\u2069]/u, format);
  }
});
