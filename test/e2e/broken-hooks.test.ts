import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  constants,
  mkdirSync,
  openSync,
  readSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Lab, until, type Trap } from '../support/lab.js';

/** A way to break the hook for SIGTERM; `break` is called before the start, `meanwhile` after the guest is up. */
interface Breakage {
  readonly what: string;
  readonly break: (lab: Lab, path: string) => void;
  readonly meanwhile?: (lab: Lab, path: string, trap: Trap) => void | Promise<void>;
  /** What the log must say of it. */
  readonly says: RegExp;
}

const write =
  (text: string, mode = 0o755) =>
  (_: Lab, path: string): void =>
    writeFileSync(path, text, { mode });
const good = '#!/bin/sh\nqmp system_powerdown\n';
const asRoot = process.getuid?.() === 0;

/** Found before it is run. */
const untrusted: readonly Breakage[] = [
  { what: 'no exec bit', break: write(good, 0o644), says: /not executable \(fix: chmod 755 / },
  { what: 'empty', break: write(''), says: /is empty/ },
  { what: 'a directory', break: (_, path) => mkdirSync(path), says: /is a directory/ },
  {
    what: 'a dangling link',
    break: (lab, path) => symlinkSync(lab.file('nowhere'), path),
    says: /link to a file that does not exist/,
  },
  { what: 'a link to itself', break: (_, path) => symlinkSync(path, path), says: /cannot be opened \(ELOOP\)/ },
  {
    what: 'world-writable',
    break: (lab, path) => (write(good)(lab, path), chmodSync(path, 0o757)),
    says: /is writable by everyone \(fix: chmod go-w /,
  },
  {
    what: 'in a directory that everybody can write',
    break: (lab, path) => (write(good)(lab, path), chmodSync(lab.hooks, 0o777)),
    says: /its directory .* is writable by everyone/,
  },
  {
    what: 'a link into a directory that everybody can write',
    break: (lab, path) => {
      mkdirSync(lab.file('open'));
      writeFileSync(lab.file('open/hook'), good, { mode: 0o755 });
      chmodSync(lab.file('open'), 0o777);
      symlinkSync(lab.file('open/hook'), path);
    },
    says: /its directory .*open is writable by everyone/,
  },
  ...(asRoot
    ? [
        {
          what: 'owned by another user',
          break: (lab: Lab, path: string) => (write(good)(lab, path), chownSync(path, 65534, 0)),
          says: /belongs to user 65534.*fix: chown root /,
        },
        {
          what: 'writable by a foreign group',
          break: (lab: Lab, path: string) => (
            write(good)(lab, path), chownSync(path, 0, 65534), chmodSync(path, 0o775)
          ),
          says: /is writable by group 65534/,
        },
      ]
    : []),
];

/** Found when it runs. */
const broken: readonly Breakage[] = [
  {
    what: 'no such interpreter',
    break: write('#!/no/such/interpreter\n'),
    says: /cannot be run: it, or the interpreter/,
  },
  {
    what: 'binary rubbish',
    break: (_, path) =>
      writeFileSync(path, Buffer.from(Array.from({ length: 4096 }, (__, i) => (i * 37 + 1) & 0xff)), { mode: 0o755 }),
    says: /exited with status|was killed by|cannot be run/,
  },
  {
    what: 'an ELF header and nothing more',
    break: (_, path) => writeFileSync(path, Buffer.from('7f454c4602010100', 'hex'), { mode: 0o755 }),
    says: /exited with status|was killed by|cannot be run/,
  },
  { what: 'killed', break: write('#!/bin/sh\nkill -KILL $$\n'), says: /was killed by SIGKILL/ },
  { what: 'exits 1', break: write('#!/bin/sh\nexit 1\n'), says: /exited with status 1/ },
  { what: 'closes fd 3', break: write('#!/bin/sh\nexec 3>&-\nqmp system_powerdown\n'), says: /exited with status/ },
  {
    what: '300 kB of rubbish into the monitor',
    break: write('#!/bin/sh\nhead -c 300000 /dev/urandom >&3\nexit 1\n'),
    says: /exited with status 1/,
  },
  {
    what: 'half a command',
    break: write('#!/bin/sh\nprintf \'{"execute":"qmp_capabilities"}{"execute":"system_po\' >&3\nexit 1\n'),
    says: /exited with status 1/,
  },
  {
    what: 'floods stdout and stderr',
    break: write('#!/bin/sh\nhead -c 20000000 /dev/zero\nhead -c 20000000 /dev/zero >&2\nexit 3\n'),
    says: /exited with status 3/,
  },
  {
    what: 'vanishes while the VM runs',
    break: write(good),
    meanwhile: (_, path) => rmSync(path),
    says: /the power button was pressed/,
  },
  {
    what: 'vanishes while it runs',
    break: write('#!/bin/sh\nrm "$0"\nexit 9\n'),
    says: /exited with status 9|was changed between/,
  },
  {
    what: 'the hooks directory is removed',
    break: write(good),
    meanwhile: (lab) => rmSync(lab.hooks, { recursive: true }),
    says: /the power button was pressed/,
  },
  {
    what: 'the run directory is removed',
    break: write(good),
    meanwhile: (lab) => rmSync(lab.runDir, { recursive: true }),
    says: /the power button was pressed/,
  },
  {
    what: 'is being written',
    break: write(good),
    meanwhile: (_, path) => void openSync(path, 'r+'),
    says: /another process has it open for writing/,
  },
  {
    what: 'asks for arguments it does not get',
    break: write('#!/bin/sh -eu\n: "${2?no second argument}"\n'),
    says: /exited with status 2/,
  },
  {
    what: 'a shell function that fails under set -e',
    break: write('#!/bin/sh -e\nfalse\nqmp system_powerdown\n'),
    says: /exited with status 1/,
  },
];

const outOfTime = /the hook did not finish in time; pressing the power button instead/;

/** What costs its time, until the reserve. */
const hanging: readonly Breakage[] = [
  {
    what: 'hangs',
    break: write('#!/bin/sh\nwhile :; do sleep 1; done\n'),
    says: outOfTime,
  },
  {
    what: 'stopped',
    break: write('#!/bin/sh\nkill -STOP $$\nqmp system_powerdown\n'),
    says: outOfTime,
  },
  {
    what: 'ignores every signal',
    break: write("#!/bin/sh\ntrap '' TERM INT HUP\nwhile :; do sleep 1; done\n"),
    says: outOfTime,
  },
  {
    what: 'a very slow start',
    break: write('#!/bin/sh\nsleep 30\nqmp system_powerdown\n'),
    says: outOfTime,
  },
  {
    what: 'reads fd 3 for ever',
    break: write('#!/bin/sh\ncat <&3 >/dev/null\n'),
    says: outOfTime,
  },
  {
    what: 'writes into the monitor for ever, and never reads',
    break: write('#!/bin/sh\nyes \'{"execute":"query-version"}\' >&3\n'),
    says: outOfTime,
  },
  {
    what: 'ends well without having done a thing',
    break: write('#!/bin/sh\nexit 0\n'),
    says: /the hook has exited, but the guest is still running; pressing the power button/,
  },
  {
    what: 'forks a daemon and ends well',
    break: write('#!/bin/sh\nsetsid sh -c "trap \'\' TERM; sleep 600" </dev/null >/dev/null 2>&1 &\nexit 0\n'),
    says: /the hook has exited, but the guest is still running; pressing the power button/,
  },
  {
    what: 'negotiates, and leaves',
    break: write('#!/bin/sh\necho \'{"execute":"qmp_capabilities"}\' >&3\n'),
    says: /the hook has exited, but the guest is still running; pressing the power button/,
  },
];

async function guestGetsItsButton(lab: Lab, breakage: Breakage, timeout: number): Promise<Trap> {
  const path = join(lab.hooks, 'SIGTERM');
  breakage.break(lab, path);
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks, '--timeout', String(timeout)] });
  await breakage.meanwhile?.(lab, path, trap);
  trap.kill('SIGTERM');
  const status = await trap.status();
  // QEMU 7.2, if a hook still writes to its monitor while it exits: 1 of some 40 times with one that does so for ever.
  const hasAborted = trap.stderr.includes("BH 'monitor_accept_input' leaked, aborting");
  assert.equal(status, hasAborted ? 134 : 0, `the guest was shut down; the log:\n${trap.stderr.slice(-4000)}`);
  assert.equal(lab.said('bye'), 1);
  assert.match(trap.log.map(({ message }) => message).join('\n'), breakage.says);
  await lab.assertNothingLeft();
  return trap;
}

for (const breakage of untrusted) {
  test(`a hook that is ${breakage.what}: warned of at the start, and the guest gets its button`, async (t) => {
    const lab = new Lab(t);
    const trap = await guestGetsItsButton(lab, breakage, 60);
    assert.equal(trap.events('hook-fault').length, 1);
    assert.equal(trap.events('hook-start').length, 0);
    assert.equal(trap.events('next-link')[0]?.['because'], 'hook-failed');
  });
}

for (const breakage of broken) {
  test(`a hook that breaks at once (${breakage.what}): the guest gets its button`, async (t) => {
    await guestGetsItsButton(new Lab(t), breakage, 60);
  });
}

for (const breakage of hanging) {
  test(`a hook that does not do its part (${breakage.what}): the guest gets its button in the reserve`, async (t) => {
    const trap = await guestGetsItsButton(new Lab(t), breakage, 2);
    assert.equal(trap.events('default-action').length, 0);
  });
}

test('no descriptors are to be had at the signal: the guest gets its button', async (t) => {
  const lab = new Lab(t);
  lab.hook('SIGTERM', good);
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks] });
  execFileSync('prlimit', ['--pid', String(trap.pid), '--nofile=1']);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(lab.said('bye'), 1);
  assert.equal(trap.events('next-link')[0]?.['because'], 'hook-failed');
});

test('no process is to be had at the signal, as a user who is not root: the guest gets its button', async (t) => {
  const lab = new Lab(t);
  const user = 54321;
  const copy = lab.ownCopy();
  lab.hook('SIGTERM', good);
  if (asRoot) execFileSync('chown', ['-R', `${user}:${user}`, lab.dir]);
  const asUser = asRoot ? ['setpriv', '--reuid', String(user), '--regid', String(user), '--clear-groups'] : [];
  const trap = await lab.startGuest({
    program: copy,
    options: ['--hooks', lab.hooks],
    through: asUser,
  });
  const [command = '', ...args] = [...asUser, 'prlimit', '--pid', String(trap.pid), '--nproc=0'];
  execFileSync(command, args);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(lab.said('bye'), 1);
  assert.match(trap.log.map(({ message }) => message).join('\n'), /cannot be run \(EAGAIN\)/);
});

test('a guest that was cut off because its hook hung: the last line names the hook', async (t) => {
  const lab = new Lab(t);
  lab.hook('SIGTERM', '#!/bin/sh\nexec sleep 1000\n');
  const trap = await lab.startGuest({ temper: 'stubborn', options: ['--hooks', lab.hooks, '--timeout', '2'] });
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 124);
  const hook = `${lab.hooks}/SIGTERM`;
  assert.match(String(trap.events('exit')[0]?.message), new RegExp(`; its hook ${hook} did not exit in its time; `));
  const [end] = trap.events('hook-end');
  assert.deepEqual([end?.level, end?.['hook'], end?.['outcome']], ['warning', hook, 'ended']);
});

test("monitorcommand=none: the user's own rule forbids the button, so a broken hook means the default action", async (t) => {
  const lab = new Lab(t);
  lab.hook('SIGTERM', '#!/bin/sh\nexit 1\n');
  const trap = await lab.startGuest({
    options: ['--hooks', lab.hooks, '--signal', 'TERM,monitorcommand=none,timeout=1'],
  });
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 124);
  assert.equal(lab.said('pressed'), 0);
});

test('script and monitor command are a chain: the command only where the script failed', async (t) => {
  for (const [hook, resets] of [
    ['exit 0', 0],
    ['exit 1', 1],
  ] as const) {
    const lab = new Lab(t);
    lab.hook('mine', `#!/bin/sh\n${hook}\n`);
    const trap = await lab.startGuest({
      options: ['--hooks', lab.hooks, '--signal', 'USR1,script=mine,monitorcommand=system_reset'],
    });
    trap.kill('SIGUSR1');
    await trap.event('hook-end');
    if (resets) await lab.guestSaid('up', 2);
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
    assert.equal(trap.events('command').length, resets);
  }
});

test('a hook for a signal that leaves the guest running is held to its timeout, then the command runs', async (t) => {
  const lab = new Lab(t);
  lab.hook('mine', '#!/bin/sh\nsleep 600\n');
  const trap = await lab.startGuest({
    options: ['--hooks', lab.hooks, '--signal', 'USR1,script=mine,monitorcommand=system_reset,timeout=0.5'],
  });
  trap.kill('SIGUSR1');
  await lab.guestSaid('up', 2);
  await until('the hook is gone', () => lab.left().length === 2);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
});

test('a stderr that is never read costs no guest its button, though hooks flood it', async (t) => {
  const lab = new Lab(t);
  lab.hook('SIGTERM', '#!/bin/sh\nhead -c 1000000 /dev/zero\nqmp system_powerdown\n');
  const fifo = lab.file('stderr');
  let soFar = '';
  const readOn = (fd: number): string => {
    const buffer = Buffer.alloc(4096);
    soFar += buffer.toString('latin1', 0, readSync(fd, buffer));
    return soFar;
  };
  execFileSync('mkfifo', [fifo]);
  const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
  const writer = openSync(fifo, constants.O_WRONLY);
  const trap = lab.start({ options: ['--hooks', lab.hooks, '--timeout', '20'], stdio: ['ignore', 'pipe', writer] });
  await lab.guestSaid('up');
  await until('every monitor is ready', () => readOn(reader).includes('"ready"'));
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(lab.said('pressed'), 1);
});

test('a stderr that is closed costs no guest its button', async (t) => {
  const lab = new Lab(t);
  lab.hook('SIGTERM', '#!/bin/sh\necho hello\necho hello >&2\nqmp system_powerdown\n');
  const trap = lab.start({ options: ['--hooks', lab.hooks], through: ['sh', '-c', 'exec "$@" 2>&-', 'sh'] });
  await lab.guestSaid('up');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(lab.said('bye'), 1);
});
