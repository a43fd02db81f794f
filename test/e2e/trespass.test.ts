import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  linkSync,
  mkdirSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { openLog } from '../../src/log/log.js';
import { plainJson, plainText } from '../../src/log/plain-text.js';
import { baitRunDir, isAlive, Lab, program, read, until } from '../support/lab.js';

/*
 * What another user of the host tries. User 65534 stands for them all.
 */

const nobody = 65534;
const notRoot = { skip: process.geteuid?.() === 0 ? false : 'only root can make files of others' };

const hasAccessLists = {
  skip: notRoot.skip || (spawnSync('setfacl', ['--version']).status === 0 ? false : 'no setfacl here'),
};

/** A directory of another user. */
function theirs(lab: Lab, name: string): string {
  const path = lab.file(name);
  mkdirSync(path);
  chownSync(path, nobody, nobody);
  return path;
}

/** Runs a program as them. */
// setpriv(1) itself looks for the program with root's capabilities still, and would find what they cannot run.
const asNobody = ['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups', 'env'];

test(
  'sockets and files of a VM, tried from their making to their end, whatever the umask and the mode of the directory',
  notRoot,
  async (t) => {
    const lab = new Lab(t);
    chmodSync(lab.dir, 0o755);
    mkdirSync(lab.runDir);
    chmodSync(lab.runDir, 0o755);
    const intruder = async (as: readonly string[]): Promise<() => string> => {
      const program = [...as, 'python3', resolve('test/support/intrude.py'), lab.runDir];
      const { child, said } = await lab.spawnUntil(program, 'trying', { cwd: '/' });
      t.after(() => child.kill('SIGKILL'));
      return said;
    };
    const said = await intruder(asNobody);
    const trap = await lab.startGuest({ through: ['sh', '-c', 'umask 0; exec "$@"', 'sh'] });
    const control = await intruder([]);
    await until(
      'the negative control: root gets in',
      () => control().includes('connected to qmp.sock') && control().includes('opened lock'),
    );
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0, trap.stderr);
    assert.equal(
      said()
        .replace('trying\n', '')
        .replaceAll(/^listed lock\S*\n/gm, ''),
      '',
    );
  },
);

test('a run directory of theirs, a link of theirs, and one that an access control list opens', notRoot, async (t) => {
  const lab = new Lab(t);
  chmodSync(lab.dir, 0o1777);
  const directory = theirs(lab, 'theirs');
  mkdirSync(lab.file('own'), { mode: 0o700 });
  symlinkSync(lab.file('own'), lab.file('link'));
  lchownSync(lab.file('link'), nobody, nobody);
  const cases: [string, RegExp][] = [
    [directory, /belongs to user 65534/],
    [`${directory}/deeper`, /\S+ on the way to it belongs to user 65534/],
    [lab.file('link'), /it is not a directory/],
  ];
  if (!hasAccessLists.skip) {
    mkdirSync(lab.file('open'));
    chmodSync(lab.file('open'), 0o770);
    execFileSync('setfacl', ['-m', `u:${nobody}:rwx`, lab.file('open')]);
    cases.push([lab.file('open'), /is writable by others through its access control list/]);
  }
  for (const [path, says] of cases) {
    const trap = lab.start({ options: ['--run-dir', path], log: 'text' });
    assert.equal(await trap.status(), 125, path);
    assert.match(trap.stderr, /^qemu-trap: run directory [^\n]+\n$/);
    assert.match(trap.stderr, says);
  }
  assert.deepEqual(readdirSync(lab.file('own')), []);
});

test(
  'a lock file of theirs, a link to a file of ours, and another name of it: none is written to',
  notRoot,
  async (t) => {
    const lab = new Lab(t);
    chmodSync(lab.dir, 0o1777);
    const own = lab.file('own');
    const lock = `${lab.runDir}.lock`;
    writeFileSync(own, 'mine', { mode: 0o600 });
    for (const prepare of [
      () => symlinkSync(own, lock),
      () => linkSync(own, lock),
      () => (writeFileSync(lock, ''), chownSync(lock, nobody, nobody)),
    ]) {
      prepare();
      const trap = await lab.startGuest();
      trap.kill('SIGTERM');
      assert.equal(await trap.status(), 0, trap.stderr);
      assert.equal(read(own), 'mine');
      rmSync(lock);
      rmSync(lab.serial);
    }
    const trap = await lab.startGuest();
    const { status } = spawnSync('setpriv', [...asNobody.slice(1), 'flock', '-n', lock, 'true']);
    assert.notEqual(status, 0, 'nor can they hold it');
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0, trap.stderr);
  },
);

test("--attach to a VM of root's: refused in one line, and the VM runs on", notRoot, async (t) => {
  const lab = new Lab(t);
  chmodSync(lab.dir, 0o755);
  const qemu = lab.spawn([...lab.guest(), '-qmp', `unix:${lab.file('qmp')},server=on,wait=off`]);
  await lab.guestSaid('up');
  const attach = lab.start({
    command: [],
    options: ['--attach', lab.file('qmp'), '--run-dir', '/tmp/qemu-trap-of-nobody'],
    program: lab.ownCopy(),
    through: asNobody,
    log: 'text',
    env: { XDG_STATE_HOME: '/nonexistent' },
  });
  assert.equal(await attach.status(), 125);
  assert.match(attach.stderr, /^qemu-trap: --attach [^\n]*cannot connect \(EACCES\)[^\n]*\n$/m);
  assert.equal(attach.stderr.trimEnd().split('\n').length, 1, attach.stderr);
  assert.ok(isAlive(qemu.pid as number));
});

/** What looks like a QEMU's monitor, and says whatever its user likes. */
const pretender = String.raw`
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
print("listens", flush=True)
client, _ = server.accept()
nasty = "a\u001b[2Jb\u009bc\u2028d\u202ee"
say = lambda what: client.sendall((json.dumps(what) + "\n").encode())
say({"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": nasty}, "capabilities": [nasty]}})
for line in client.makefile():
    asked = json.loads(line)
    answer = {"query-name": {"name": "../" + nasty}, "query-status": {"status": nasty, "running": True}, "query-commands": [{"name": nasty}]}.get(asked["execute"])
    if answer is None and asked["execute"] not in ("qmp_capabilities", "system_powerdown"): say({"error": {"class": nasty, "desc": nasty}, "id": asked.get("id")})
    else: say({"return": {} if answer is None else answer, "id": asked.get("id")})
    if asked["execute"] == "system_powerdown": say({"event": nasty, "data": {"reason": nasty}, "timestamp": {"seconds": 1, "microseconds": 1}}); say({"event": "SHUTDOWN", "data": {"guest": True, "reason": nasty}, "timestamp": {"seconds": 1, "microseconds": 1}}); os._exit(0)
`;

test(
  "root's --attach to a socket of theirs that lies: it writes nowhere else, and no control character reaches the terminal",
  notRoot,
  async (t) => {
    for (const log of ['text', 'json'] as const) {
      const lab = new Lab(t);
      const directory = theirs(lab, 'theirs');
      chmodSync(lab.dir, 0o755);
      await lab.spawnUntil([...asNobody, 'python3', '-c', pretender, `${directory}/qmp`], 'listens', {
        cwd: '/',
        env: { PYTHONDONTWRITEBYTECODE: '1' },
      });
      const trap = lab.start({
        command: [],
        options: ['--attach', `${directory}/qmp`, '--timeout', '3', '--kill-after', '1'],
        log,
      });
      await until(
        'it serves',
        () => /takeover|attached to/.test(trap.stderr) && readdirSync(lab.runDir).includes('qmp.sock'),
      );
      trap.kill('SIGTERM');
      await trap.status();
      assert.doesNotMatch(trap.stderr, /[^\P{Cc}\n]|[\u2028\u2029\u202a-\u202e\u2066-\u2069]/u);
      assert.deepEqual(readdirSync(directory), ['qmp']);
      assert.ok(
        readdirSync(lab.file('state')).every((name) => /^[\w.-]+$/.test(name)),
        String(readdirSync(lab.file('state'))),
      );
    }
  },
);

test('a link of theirs in a store of hooks that is sticky: not run, wherever it leads', notRoot, async (t) => {
  const lab = new Lab(t);
  chmodSync(lab.hooks, 0o1777);
  for (const name of ['SIGUSR1', 'start']) {
    symlinkSync('/bin/true', `${lab.hooks}/${name}`);
    lchownSync(`${lab.hooks}/${name}`, nobody, nobody);
  }
  assert.match(check(lab.hooks).stdout, /SIGUSR1: \S+SIGUSR1 on the way to it belongs to user 65534/);
  const trap = lab.start({ options: ['--hooks', lab.hooks] });
  assert.equal(await trap.status(), 125, 'a start that cannot be trusted keeps QEMU from being started');
  assert.match(trap.stderr, /\S+start on the way to it belongs to user 65534/);
  lchownSync(`${lab.hooks}/SIGUSR1`, 0, 0);
  assert.doesNotMatch(check(lab.hooks).stdout, /SIGUSR1: \S+ on the way to it/, "negative control: root's own link");
});

/** A monitor that, before it greets, makes its socket look like somebody else's: by a link, or by a name with a line feed. */
const impersonator = String.raw`
import os, socket, sys
how, directory, name, victim = sys.argv[1:]
os.chdir(directory)
server = socket.socket(socket.AF_UNIX)
server.bind(name)
server.listen()
os.chdir("/")
print("listens", flush=True)
client, _ = server.accept()
if how == "link":
    os.unlink(f"{directory}/{name}")
    os.symlink(victim, f"{directory}/{name}")
else:
    forged = socket.socket(socket.AF_UNIX)
    forged.bind(f"\0\n0: 00000002 00000000 00000000 0001 03 {victim} {directory}/{name}")
    server.close()
client.sendall(b'{"QMP": {"version": {}, "capabilities": []}}\n')
client.recv(1000)
`;

/** A service of root's with a connection of theirs; its pid, and the inode of its end. */
async function victimOf(lab: Lab, path: string): Promise<{ readonly pid: number; readonly inode: string }> {
  const serve = `import os, socket, sys, time
server = socket.socket(socket.AF_UNIX); server.bind(sys.argv[1]); os.chmod(sys.argv[1], 0o777); server.listen()
print("listens", flush=True); client, _ = server.accept(); print(os.fstat(client.fileno()).st_ino, flush=True); time.sleep(600)`;
  const { child, said } = await lab.spawnUntil(['python3', '-c', serve, path], 'listens');
  const ask = 'import socket, sys, time; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); time.sleep(600)';
  lab.spawn([...asNobody, 'python3', '-c', ask, path], { cwd: '/' });
  const inode = await until('they are connected', () => /^(\d+)$/m.exec(said())?.[1]);
  return { pid: child.pid as number, inode };
}

test(
  "root's --attach to a socket of theirs that passes for a service of root's: no process of root's is taken for QEMU",
  notRoot,
  async (t) => {
    for (const how of ['link', 'name'] as const) {
      const lab = new Lab(t);
      chmodSync(lab.dir, 0o755);
      const directory = theirs(lab, 'theirs');
      const victim = await victimOf(lab, lab.file('victim.sock'));
      const target = how === 'link' ? lab.file('victim.sock') : victim.inode;
      const program = [...asNobody, 'python3', '-c', impersonator, how, directory, 'victim.sock', target];
      await lab.spawnUntil(program, 'listens', { cwd: '/' });
      const trap = lab.start({
        command: [],
        options: ['--attach', `${directory}/victim.sock`, '--timeout', '1', '--kill-after', '1'],
        log: 'text',
      });
      await until(
        'it is refused, or serves',
        () => trap.child.exitCode !== null || /attached to QEMU/.test(trap.stderr),
      );
      if (trap.child.exitCode === null) trap.kill('SIGTERM');
      await trap.status();
      assert.doesNotMatch(trap.stderr, new RegExp(`pid ${victim.pid}\\b`), how);
      assert.ok(isAlive(victim.pid), how);
    }
  },
);

test(
  'a --state-dir that is still to be made where others may make theirs: it is ours before anything else runs',
  notRoot,
  async (t) => {
    const lab = new Lab(t);
    mkdirSync(lab.file('sticky'));
    chmodSync(lab.file('sticky'), 0o1777);
    const state = lab.file('sticky/deep/state');
    lab.hook('start', `#!/bin/sh\nstat -c '%u %a' '${state}'\n`);
    const trap = await lab.startGuest({ options: ['--hooks', lab.hooks, '--state-dir', state] });
    assert.equal((await trap.event('hook-output')).message, '0 700');
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
  },
);

test(
  '--new-hook into a directory of theirs, or one that everybody may write to: refused, and nothing is written',
  notRoot,
  (t) => {
    const lab = new Lab(t);
    const own = lab.file('own');
    writeFileSync(own, 'mine', { mode: 0o600 });
    const open = lab.file('open');
    mkdirSync(open);
    chmodSync(open, 0o777);
    for (const directory of [theirs(lab, 'theirs'), open, `${open}/deep`]) {
      const { status, stderr } = spawnSync(process.execPath, [program, '--new-hook', 'TERM', '--hooks', directory], {
        encoding: 'utf8',
      });
      assert.equal(status, 125, directory);
      assert.match(stderr, /^qemu-trap: --new-hook TERM: hooks directory [^\n]+\n$/);
      assert.ok(!existsSync(`${directory}/SIGTERM`));
    }
  },
);

test("root's --status believes nothing that lies in a directory where everybody may write", notRoot, (t) => {
  const bait = baitRunDir(t);
  chmodSync(bait, 0o1777);
  writeFileSync(
    `${bait}/status.json`,
    `${JSON.stringify({ vm: 'x', guest: 'running', serving: [], history: null, warning: 'run this' })}\n`,
  );
  writeFileSync(`${bait}/qemu.id`, read(`${bait}/lock`));
  for (const name of ['status.json', 'qemu.id', 'lock']) chownSync(`${bait}/${name}`, nobody, nobody);
  const { stdout } = spawnSync(process.execPath, [program, '--status', '--run-dir', bait], { encoding: 'utf8' });
  assert.doesNotMatch(stdout, /run this|running/);
});

test(
  'a process of theirs that passes for QEMU behind a wrapper: left alone, and the guest is shut down as ever',
  notRoot,
  async (t) => {
    const lab = new Lab(t);
    chmodSync(lab.dir, 0o755);
    const sleep = 'import time; time.sleep(600)';
    const impostor = lab.spawn([...asNobody, 'python3', '-c', sleep, '-readconfig', `${lab.runDir}/monitors.cfg`], {
      cwd: '/',
    });
    await until(
      'it is there',
      () =>
        read(`/proc/${impostor.pid}/cmdline`).includes('monitors.cfg') &&
        read(`/proc/${impostor.pid}/status`).includes('65534'),
    );
    const trap = await lab.startGuest({ command: ['sh', '-c', '"$@"; exit $?', 'sh', ...lab.guest()] });
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0, trap.stderr);
    assert.equal(trap.verdict['end'], 'guest-shutdown');
    assert.equal(trap.events('qemu-unknown').length, 0);
    assert.ok(isAlive(impostor.pid as number));
  },
);

test("the service manager's socket: no hook can speak for the VM on it", async (t) => {
  const lab = new Lab(t);
  lab.hook('SIGUSR1', '#!/bin/sh\necho "socket: ${NOTIFY_SOCKET-none}"\n');
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks], env: { NOTIFY_SOCKET: lab.file('notify') } });
  trap.kill('SIGUSR1');
  assert.equal((await trap.event('hook-output')).message, 'socket: none');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
});

test(
  '--state-dir in the hands of another user: refused in one line, and no link of theirs is followed',
  notRoot,
  async (t) => {
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
      [`${directory}/deep/er`, /theirs on the way to it belongs to user 65534/],
      [lab.file('open'), /it is writable by everyone \(fix: chmod go-w /],
      [lab.file('sticky'), /it is writable by everyone/],
      [lab.file('link'), /belongs to user 65534/],
    ] as const) {
      const trap = lab.start({
        options: ['--state-dir', path, '--name', 'vm', '--signal', 'TERM,script=save'],
        log: 'text',
      });
      assert.equal(await trap.status(), 125, path);
      assert.match(trap.stderr, /^qemu-trap: state directory [^\n]+\n$/);
      assert.match(trap.stderr, says);
    }
    assert.equal(read(own), 'mine');
  },
);

test(
  'the default state directory in the hands of another user: a warning, and the VM runs without a history',
  notRoot,
  async (t) => {
    const lab = new Lab(t);
    chmodSync(lab.dir, 0o755);
    mkdirSync(lab.file('home'));
    chownSync(lab.file('home'), nobody, nobody);
    mkdirSync(lab.file('state-home'));
    chownSync(lab.file('state-home'), 12345, 12345);
    chmodSync(lab.file('state-home'), 0o777);
    const words = [
      process.execPath,
      lab.ownCopy(),
      '--run-dir',
      lab.file('home/run'),
      '--log',
      'json',
      '--name',
      'vm',
      '--signal',
      'TERM,script=save',
      '--timeout',
      '20',
      '--',
    ];
    const command = lab.guest().map((word) => (word.startsWith('file:') ? `file:${lab.file('home/serial')}` : word));
    chmodSync(lab.file('obedient.img'), 0o644);
    const child = lab.spawn(
      ['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups', ...words, ...command],
      { env: { XDG_STATE_HOME: lab.file('state-home'), QEMU_TRAP_HOOKS: '' } },
    );
    let log = '';
    child.stderr?.on('data', (chunk) => (log += chunk));
    await until('the guest is up', () => read(lab.file('home/serial')).includes('guest: up'));
    child.kill('SIGTERM');
    await until('it has ended', () => child.exitCode !== null);
    assert.equal(child.exitCode, 0, log);
    assert.match(log, /"event":"state-distrusted","level":"warning"/);
    assert.match(log, /"end":"guest-shutdown"/);
    assert.ok(!existsSync(lab.file('state-home/qemu-trap')));
  },
);

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
  const { stdout, status } = spawnSync(process.execPath, [program, '--check', '--hooks', hooks, ...more], {
    encoding: 'utf8',
    env: { ...process.env, QEMU_TRAP_HOOKS: '' },
  });
  return { stdout, status };
}

test('a hook that an access control list lets another user write to is not run', hasAccessLists, (t) => {
  const lab = new Lab(t);
  const hook = lab.hook('SIGUSR1', '#!/bin/sh\nexit 0\n');
  chmodSync(hook, 0o775);
  assert.equal(check(lab.hooks).status, 0, 'its own group may write to it');
  execFileSync('setfacl', ['-m', `u:${nobody}:rw`, hook]);
  const { stdout, status } = check(lab.hooks);
  assert.equal(status, 125);
  assert.match(stdout, /SIGUSR1: it is writable by others through its access control list; fix: setfacl -b /);
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
  assert.match(check(lab.hooks).stdout, /its directory \S+ is writable by group 65534/);
});

test('a hook on a file system without exec is told as that', notRoot, (t) => {
  const lab = new Lab(t);
  const script = `mount -t tmpfs -o noexec tmpfs '${lab.hooks}' && printf '#!/bin/sh\\n' >'${lab.hooks}/SIGUSR1' && chmod 755 '${lab.hooks}' '${lab.hooks}/SIGUSR1' && exec "$@"`;
  const { stdout, status } = spawnSync(
    'unshare',
    ['--mount', 'sh', '-c', script, 'sh', process.execPath, program, '--check', '--hooks', lab.hooks],
    { encoding: 'utf8', env: { ...process.env, QEMU_TRAP_HOOKS: '' } },
  );
  assert.equal(status, 125);
  assert.match(stdout, /SIGUSR1: it is on a file system that is mounted noexec/);
});

test('a directory of steps that cannot be read is told as that, and not as empty', notRoot, (t) => {
  const lab = new Lab(t);
  chmodSync(lab.dir, 0o755);
  mkdirSync(`${lab.hooks}/SIGTERM.d`, { mode: 0o700 });
  lab.hook('SIGTERM.d/10-a', '#!/bin/sh\nexit 0\n');
  const { stdout } = spawnSync(
    'setpriv',
    [
      `--reuid=${nobody}`,
      `--regid=${nobody}`,
      '--clear-groups',
      process.execPath,
      lab.ownCopy(),
      '--check',
      '--hooks',
      lab.hooks,
    ],
    { encoding: 'utf8', env: { ...process.env, QEMU_TRAP_HOOKS: '' } },
  );
  assert.match(stdout, /SIGTERM\.d: it cannot be read \(EACCES\); fix: chmod 755 /);
  assert.doesNotMatch(stdout, /there is no executable in it/);
});

test("root's --status gives no advice that another user has written", notRoot, (t) => {
  const bait = baitRunDir(t);
  const now = performance.now();
  const status = (uid: number): string => {
    writeFileSync(
      `${bait}/status.json`,
      `${JSON.stringify({ vm: 'x\u001b[31m', guest: 'running', serving: [{ signal: 'SIGTERM', waitsFor: 'guest', since: 0, until: now + 1e9, next: 'quit' }], history: null, warning: 'run this: rm -rf /' })}\n`,
    );
    for (const path of [bait, `${bait}/status.json`]) chownSync(path, uid, uid);
    writeFileSync(`${bait}/qemu.id`, read(`${bait}/lock`));
    return spawnSync(process.execPath, [program, '--status', '--run-dir', bait], { encoding: 'utf8' }).stdout;
  };
  assert.match(status(0), /kill -QUIT/);
  assert.match(status(0), /rm -rf/);
  assert.match(status(nobody), /uid 65534/);
  assert.doesNotMatch(status(nobody), /kill -QUIT|rm -rf|\u001b/);
});

test(
  'without /proc: the VM runs and is shut down, a line says what cannot be told, and --status says that it cannot',
  notRoot,
  async (t) => {
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
    assert.match(stderr, /^qemu-trap: --status: \/proc is not mounted[^\n]*\n$/);
  },
);

test('a run directory on a file system that is read-only is told as that', notRoot, (t) => {
  const lab = new Lab(t);
  mkdirSync(lab.file('ro'));
  const { status, stderr } = spawnSync(
    'unshare',
    [
      '--mount',
      'sh',
      '-c',
      `mount -t tmpfs -o ro none '${lab.file('ro')}' && exec "$@"`,
      'sh',
      process.execPath,
      program,
      '--run-dir',
      lab.file('ro/a/b'),
      '--state-dir',
      lab.file('state'),
      '--',
      'true',
    ],
    { encoding: 'utf8' },
  );
  assert.equal(status, 125);
  assert.match(stderr, /^qemu-trap: run directory [^\n]*\(EROFS\)[^\n]*\n$/);
});

test('a last option of QEMU without its value does not swallow ours: one line, and a fault of --check', async (t) => {
  const lab = new Lab(t);
  const trap = lab.start({ qemu: ['-pidfile'], log: 'text' });
  assert.equal(await trap.status(), 125);
  assert.match(trap.stderr, /^qemu-trap: QEMU's -pidfile: its value is missing[^\n]*\n$/);
  assert.ok(!existsSync('-readconfig'));
  assert.match(
    check(lab.hooks, '--', 'qemu-system-x86_64', '-m', '16', '-pidfile').stdout,
    /QEMU's -pidfile: its value is missing/,
  );
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
    const log = openLog({ format, priorities: false, stamped: false, vm: nasty }, (text) => (written += text));
    log({ event: 'x', level: 'info', message: nasty, facts: { fact: nasty } });
    // Cut in the middle of a character.
    const bytes = Buffer.from(`${nasty}\n`);
    for (const byte of bytes) log.hookOutput('/hook', Buffer.from([byte]));
    log.hookOutput('/hook', Buffer.alloc(0));
    log.flush();
    assert.doesNotMatch(written, /[^\P{Cc}\n]|[\u2028\u2029\u202a-\u202e\u2066-\u2069]/u, format);
  }
});
