import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { test, type TestContext } from 'node:test';
import {
  execute,
  isAlive,
  kill,
  Lab,
  monitor,
  openFiles,
  read,
  until,
  type StartOptions,
  type Trap,
} from '../support/lab.js';
import { Linux, needsLinux, says, type LinuxOptions } from '../support/linux.js';

/*
 * Hibernation: SIGTERM saves, SIGINT shuts down.
 */

/** What a state directory holds besides the histories. */
function savedIn(directory: string): string[] {
  return readdirSync(directory).filter((name) => !name.endsWith('.history'));
}

class SavingLab extends Lab {
  readonly linux: Linux;
  readonly stateDir = this.file('state');
  readonly state = `${this.stateDir}/web.state`;
  starts = 0;

  constructor(t: TestContext) {
    super(t);
    this.linux = new Linux(this);
  }

  startLinux(linux: LinuxOptions = {}, start: StartOptions = {}): Trap {
    this.starts++;
    return this.start({
      ...start,
      command: this.linux.command({ ...linux, more: ['-name', 'web', ...(linux.more ?? [])] }),
      options: ['--state-dir', this.stateDir, '--signal', 'TERM,script=save', ...(start.options ?? [])],
    });
  }

  /** Saves a guest that is up. */
  async save(): Promise<Trap> {
    const trap = this.startLinux();
    await this.linux.says(says.up);
    await this.linux.says('has been up');
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
    assert.ok(existsSync(this.state), trap.stderr);
    return trap;
  }

  /** The seconds that the guest says it has been up, in the order it said so. */
  get uptimes(): number[] {
    return [...this.linux.log.matchAll(/has been up (\d+\.\d+) seconds/g)].map((match) => Number(match[1]));
  }

  async shutDown(trap: Trap): Promise<void> {
    trap.kill('SIGINT');
    assert.equal(await trap.status(), 0);
    assert.equal(trap.verdict['verdict'], 'clean');
    this.linux.assertClean();
    assert.equal(this.linux.said(says.recovered), 0);
  }
}

test(
  'save: the next start resumes the guest where it was, and the state is gone once it runs',
  needsLinux,
  async (t) => {
    const lab = new SavingLab(t);
    const saving = await lab.save();
    assert.equal(saving.verdict['verdict'], 'clean');
    assert.equal(saving.verdict['saved'], lab.state);
    assert.match(saving.verdict.message, /the guest is saved in \S+web\.state, and the next start resumes it/);
    assert.equal(statSync(lab.state).mode & 0o777, 0o600);
    assert.equal(saving.events('powerdown').length, 0);
    await lab.assertNothingLeft();

    const before = lab.uptimes.length;
    const resuming = lab.startLinux();
    await resuming.event('resumed');
    await resuming.ready();
    assert.ok(!existsSync(lab.state));
    await until('it goes on', () => lab.uptimes.length >= before + 2);
    assert.deepEqual(
      lab.uptimes,
      [...lab.uptimes].sort((a, b) => a - b),
      'its clock went on from where it was',
    );
    assert.equal(lab.linux.said(says.up), 1, 'it did not boot again');
    await lab.shutDown(resuming);
    assert.deepEqual(savedIn(lab.stateDir), []);
  },
);

test('save and resume three times: one boot, and a clean disk at the end', needsLinux, async (t) => {
  const lab = new SavingLab(t);
  await lab.save();
  for (let times = 1; times <= 3; times++) {
    const before = lab.uptimes.length;
    const trap = lab.startLinux();
    await until('it goes on', () => lab.uptimes.length > before);
    if (times === 3) return lab.shutDown(trap);
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
    assert.ok(existsSync(lab.state));
  }
});

const canMount = (() => {
  const { status } = spawnSync('unshare', ['-m', 'true']);
  return { skip: needsLinux.skip || (status === 0 ? false : 'no mount namespace here') };
})();

test(
  'save with a full disk: nothing is left of it, the guest goes on and gets its power button',
  canMount,
  async (t) => {
    const lab = new SavingLab(t);
    mkdirSync(lab.stateDir);
    const trap = lab.startLinux(
      {},
      {
        through: [
          'unshare',
          '-m',
          'sh',
          '-c',
          `mount -t tmpfs -o size=8m,mode=700 none ${lab.stateDir} && exec "$@"`,
          'sh',
        ],
      },
    );
    await lab.linux.says(says.up);
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
    assert.equal(trap.verdict['verdict'], 'clean');
    assert.equal(trap.verdict['saved'], undefined);
    assert.ok(
      trap.events('hook-output').some(({ message }) => message.includes('could not write')),
      trap.stderr,
    );
    assert.equal(lab.linux.said(says.pressed), 1);
    lab.linux.assertClean();
  },
);

test(
  'a hook that is gone when QEMU has written all, but before it has its name: the guest goes on, and is pressed',
  needsLinux,
  async (t) => {
    const lab = new SavingLab(t);
    lab.hook(
      'save',
      `#!/bin/sh
mkdir -p "\${QEMU_TRAP_STATE%/*}"; : >"$QEMU_TRAP_STATE.part"
qmp migrate "{\\"uri\\":\\"exec:cat >$QEMU_TRAP_STATE.part.cat\\"}"
until qmp query-migrate | grep -q '"completed"'; do sleep 0.1; done
qmp query-status
kill -KILL $$
`,
    );
    const trap = lab.startLinux({}, { options: ['--hooks', lab.hooks] });
    await lab.linux.says(says.up);
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
    assert.ok(
      trap.events('hook-output').some(({ message }) => message.includes('postmigrate')),
      trap.stderr,
    );
    assert.equal(trap.events('save-abandoned').length, 1);
    assert.equal(lab.linux.said(says.pressed), 1);
    lab.linux.assertClean();
    assert.deepEqual(savedIn(lab.stateDir), []);
  },
);

test('the hook of another signal that ends while a guest is saved does not undo the save', needsLinux, async (t) => {
  const lab = new SavingLab(t);
  const gate = lab.file('gate');
  lab.hook(
    'slow-save',
    `#!/bin/sh\n: >"$QEMU_TRAP_STATE.part"\nuntil [ -e ${gate} ]; do sleep 0.05; done\nrm "$QEMU_TRAP_STATE.part"\nexec "$QEMU_TRAP_BUNDLED/save" "$1"\n`,
  );
  lab.hook('SIGHUP', '#!/bin/sh\nqmp query-status\n');
  mkdirSync(lab.stateDir, { mode: 0o700 });
  const rules = [
    '--hooks',
    lab.hooks,
    '--signal',
    'USR2,script=slow-save,default=none',
    '--signal',
    'HUP,default=none,monitorcommand=none',
  ];
  const trap = lab.startLinux({}, { options: rules });
  await lab.linux.says(says.up);
  trap.kill('SIGUSR2');
  await until('it saves', () => existsSync(`${lab.state}.part`));
  trap.kill('SIGHUP');
  await until('the other one has ended', () => trap.events('hook-end').some(({ signal }) => signal === 'SIGHUP'));
  writeFileSync(gate, '');
  assert.equal(await trap.status(), 0, trap.stderr);
  assert.equal(trap.verdict['end'], 'saved', trap.stderr);
  assert.equal(trap.events('save-abandoned').length, 0, trap.stderr);
});

test('a save that is not done when its time is up: it is undone, and the button is pressed', needsLinux, async (t) => {
  const lab = new SavingLab(t);
  // cat of QEMU's own: nothing is ever read.
  mkdirSync(lab.file('bin'));
  writeFileSync(lab.file('bin/cat'), '#!/bin/sh\nexec sleep 1000 >/dev/null 2>&1\n', { mode: 0o755 });
  const trap = lab.startLinux(
    {},
    { env: { PATH: `${lab.file('bin')}:${process.env['PATH']}` }, options: ['--timeout', '12'] },
  );
  await lab.linux.says(says.up);
  trap.kill('SIGTERM');
  // And not until its stderr is closed: what QEMU itself started for the migration is still there.
  await trap.event('exit');
  if (trap.verdict['saved']) return t.diagnostic('this QEMU writes the file itself');
  assert.equal(trap.events('next-link')[0]?.['because'], 'hook-timeout');
  assert.equal(lab.linux.said(says.pressed), 1);
  lab.linux.assertClean();
  assert.equal(trap.verdict['status'], 0, trap.stderr);
});

const spoilers: readonly [string, (lab: SavingLab) => void, LinuxOptions][] = [
  ['half of it is missing', (lab) => truncateSync(lab.state, Math.floor(statSync(lab.state).size / 2)), {}],
  ['it is no state at all', (lab) => writeFileSync(lab.state, 'rubbish\n'), {}],
  ['it is of a machine with other memory', () => undefined, { memory: 256 }],
];

for (const [what, spoil, linux] of spoilers) {
  test(`a state that QEMU refuses (${what}) is set aside, and the VM boots normally`, needsLinux, async (t) => {
    const lab = new SavingLab(t);
    await lab.save();
    spoil(lab);
    const trap = lab.startLinux(linux);
    const refused = await trap.event('state-refused');
    assert.match(
      refused.message,
      /QEMU cannot load it \(status 1; its own messages are above\); moved it to \S+web\.state\.refused; the VM boots normally/,
    );
    await lab.linux.says(says.up, 2);
    const [, again] = trap.events('start');
    assert.match(
      read(`/proc/${again?.['pid']}/limits`),
      /^Max file locks +unlimited/m,
      'it is not taken for what a hook has left',
    );
    assert.equal(
      lab.linux.said(says.recovered),
      1,
      'what the saved guest had not written is lost, as after a power failure',
    );
    assert.deepEqual(savedIn(lab.stateDir), ['web.state.refused']);
    trap.kill('SIGINT');
    assert.equal(await trap.status(), 0);
    lab.linux.assertClean();
    await lab.assertNothingLeft();
  });
}

test('SIGTERM while a state is being loaded: nothing is lost, the next start resumes it', needsLinux, async (t) => {
  const lab = new SavingLab(t);
  await lab.save();
  const early = lab.startLinux();
  await early.event('start');
  early.kill('SIGTERM');
  assert.equal(await early.status(), 0);
  assert.equal(early.events('resumed').length, 0);
  assert.ok(existsSync(lab.state));
  const before = lab.uptimes.length;
  const trap = lab.startLinux();
  await until('it goes on', () => lab.uptimes.length > before);
  await lab.shutDown(trap);
});

test(
  'a saved guest whose disk another QEMU has is kept: one line, and it resumes when the disk is free',
  needsLinux,
  async (t) => {
    const lab = new SavingLab(t);
    await lab.save();
    const size = statSync(lab.state).size;
    const other = lab.spawn(
      [
        'qemu-system-x86_64',
        '-S',
        '-display',
        'none',
        '-nodefaults',
        '-drive',
        `file=${lab.linux.disk},format=raw,if=none,id=x`,
        '-device',
        'virtio-blk,drive=x',
      ],
      { stdio: 'ignore' },
    );
    await until('it has the disk', () => openFiles(other.pid as number).includes(lab.linux.disk));
    const early = lab.startLinux();
    assert.equal(await early.status(), 125, early.stderr);
    assert.match(early.verdict.message, /the saved guest was loaded but cannot run \(.*lock.*\); its state is kept/);
    assert.equal(early.events('resumed').length, 0);
    assert.equal(statSync(lab.state).size, size);
    assert.deepEqual(savedIn(lab.stateDir), ['web.state']);
    await kill(other);
    const before = lab.uptimes.length;
    const trap = lab.startLinux();
    await trap.event('resumed');
    await until('it goes on', () => lab.uptimes.length > before);
    await lab.shutDown(trap);
    assert.deepEqual(savedIn(lab.stateDir), []);
  },
);

test(
  'a QEMU that dies by a signal while it loads a state is started without it the second time',
  needsLinux,
  async (t) => {
    const lab = new SavingLab(t);
    await lab.save();
    const trap = lab.startLinux();
    await trap.event('start');
    process.kill(trap.qemuPid, 'SIGSEGV');
    await trap.ready();
    assert.equal(trap.events('start').length, 2);
    assert.equal(trap.events('resumed').length, 0);
    assert.match((await trap.event('state-refused')).message, /QEMU cannot load it \(killed by SIGSEGV/);
    assert.deepEqual(savedIn(lab.stateDir), ['web.state.refused']);
    await lab.linux.says(says.up, 2);
    trap.kill('SIGINT');
    assert.equal(await trap.status(), 0);
  },
);

test('a QEMU that does not start for another reason leaves the state in its place', needsLinux, async (t) => {
  const lab = new SavingLab(t);
  await lab.save();
  const size = statSync(lab.state).size;
  const wrong = lab.startLinux({ more: ['-no-such-option'] });
  assert.equal(await wrong.status(), 1);
  assert.equal(wrong.verdict['verdict'], 'failed-to-start');
  assert.equal(statSync(lab.state).size, size);
  assert.deepEqual(savedIn(lab.stateDir), ['web.state']);
});

test('a state that is not ours to trust, or that QEMU is not asked for, is set aside without being loaded', async (t) => {
  const lab = new Lab(t);
  const stateDir = lab.file('state');
  mkdirSync(stateDir);
  const state = `${stateDir}/web.state`;
  const cases: [string, () => void, string[], RegExp][] = [
    ['a link', () => symlinkSync('/dev/zero', state), [], /it cannot be opened \(ELOOP\)/],
    ['a directory', () => mkdirSync(state), [], /it is not a file/],
    [
      'writable by everybody',
      () => {
        writeFileSync(state, 'x');
        execFileSync('chmod', ['666', state]);
      },
      [],
      /it is writable by everyone/,
    ],
    [
      'with -loadvm',
      () => writeFileSync(state, 'x', { mode: 0o600 }),
      ['-loadvm', 'x'],
      /QEMU's own options load a guest already \(-loadvm\)/,
    ],
  ];
  if (process.getuid?.() === 0)
    cases.push([
      "somebody else's",
      () => {
        writeFileSync(state, 'x');
        chownSync(state, 65534, 65534);
      },
      [],
      /belongs to user 65534/,
    ]);
  for (const [what, make, options, words] of cases) {
    execFileSync('rm', ['-rf', `${state}.refused`]);
    make();
    const trap = lab.start({ qemu: ['-name', 'web', ...options], options: ['--state-dir', stateDir] });
    assert.match((await trap.event('state-refused')).message, words, what);
    assert.deepEqual(savedIn(stateDir), ['web.state.refused']);
    trap.kill('SIGQUIT');
    await trap.status();
  }
});

test('what a save that was cut short has left is removed at the next start, and never loaded', async (t) => {
  const lab = new Lab(t);
  mkdirSync(lab.file('state'));
  for (const name of ['web.state.part', 'web.state.part.cat']) writeFileSync(`${lab.file('state')}/${name}`, 'half');
  const trap = await lab.startGuest({ qemu: ['-name', 'web'], options: ['--state-dir', lab.file('state')] });
  assert.deepEqual(savedIn(lab.file('state')), []);
  assert.doesNotMatch(readFileSync(`/proc/${trap.qemuPid}/cmdline`, 'latin1'), /incoming/);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
});

test('what QEMU inherits stays out of the hooks, after a resume too', async (t) => {
  const lab = new Lab(t);
  const options = ['--state-dir', lab.file('state'), '--hooks', lab.hooks, '--signal', 'TERM,script=save'];
  mkdirSync(lab.file('state'), { mode: 0o700 });
  lab.hook('USR1', `#!/bin/sh\nreadlink /proc/$$/fd/* >${lab.file('fds')}\n`);
  writeFileSync(lab.file('given'), '');
  const through = ['bash', '-c', `exec 20<${lab.file('given')}; exec "$@"`, 'bash'];
  const qemu = ['-name', 'web', '-add-fd', 'fd=20,set=1'];
  const saving = await lab.startGuest({ options, through, qemu });
  saving.kill('SIGTERM');
  assert.equal(await saving.status(), 0);
  const trap = lab.start({ options, through, qemu });
  await trap.event('resumed');
  trap.kill('SIGUSR1');
  await trap.event('hook-end');
  assert.match(read(lab.file('fds')), /^socket:/m);
  assert.ok(!read(lab.file('fds')).includes('given'));
  trap.kill('SIGINT');
  assert.equal(await trap.status(), 0);
});

const kept = { options: ['--on-death', 'keep'] };

/** qemu-trap is killed, and the next one takes its place. */
async function replace(lab: SavingLab, trap: Trap, options: readonly string[] = kept.options): Promise<Trap> {
  await trap.die();
  return lab.startLinux({}, { options });
}

test(
  'qemu-trap killed in the middle of a save: the one that takes over lets the guest go on',
  needsLinux,
  async (t) => {
    const lab = new SavingLab(t);
    lab.hook(
      'save',
      `#!/bin/sh
mkdir -p "\${QEMU_TRAP_STATE%/*}"; : >"$QEMU_TRAP_STATE.part"
qmp migrate "{\\"uri\\":\\"exec:cat >$QEMU_TRAP_STATE.part.cat\\"}"
until qmp query-migrate | grep -q '"completed"'; do sleep 0.1; done
echo written
sleep 600
`,
    );
    const options = [...kept.options, '--hooks', lab.hooks];
    const first = lab.startLinux({}, { options });
    await lab.linux.says(says.up);
    first.kill('SIGTERM');
    await first.event('hook-output');
    const next = await replace(lab, first, options);
    assert.equal((await next.event('takeover'))['guest'], 'finish-migrate');
    await next.event('save-abandoned');
    const before = lab.uptimes.length;
    await until('it goes on', () => lab.uptimes.length > before);
    await lab.shutDown(next);
    assert.equal(lab.linux.said(says.up), 1);
    assert.deepEqual(savedIn(lab.stateDir), []);
  },
);

test(
  'qemu-trap killed while QEMU loads a saved guest: the one that takes over lets it go on, once',
  needsLinux,
  async (t) => {
    const lab = new SavingLab(t);
    await lab.save();
    const before = lab.uptimes.length;
    const first = lab.startLinux({}, kept);
    await first.event('start');
    const next = await replace(lab, first);
    await next.event('takeover');
    await until('it goes on', () => lab.uptimes.length > before);
    assert.ok(!existsSync(lab.state));
    assert.equal(next.events('start').length, 0);
    await lab.shutDown(next);
    assert.equal(lab.linux.said(says.up), 1, 'it did not boot again');
  },
);

test(
  'qemu-trap killed when all is saved, and QEMU still there: the one that takes over ends QEMU, and the next resumes',
  needsLinux,
  async (t) => {
    const lab = new SavingLab(t);
    mkdirSync(lab.stateDir, { mode: 0o700 });
    const first = lab.startLinux({}, kept);
    await lab.linux.says(says.up);
    await lab.linux.says('has been up');
    await first.die();
    // What the hook does, up to the moment in which qemu-trap would have QEMU quit. The guest stands still from the first
    // byte on: one that runs on under software emulation while its memory is written hangs after 1 to 2 of 100 resumes.
    const { client, socket } = await monitor(lab);
    await client.execute('migrate-set-parameters', { 'max-bandwidth': 1_000_000_000_000, 'downtime-limit': 2_000_000 });
    await client.execute('migrate', { uri: `exec:umask 077; cat >${lab.state}` });
    await until(
      'all is written',
      async () => ((await client.execute('query-migrate')) as { status?: string }).status === 'completed',
    );
    socket.destroy();
    const next = lab.startLinux({}, kept);
    assert.equal(await next.status(), 0, next.stderr);
    assert.equal(next.events('takeover')[0]?.['guest'], 'postmigrate');
    assert.equal(next.verdict['saved'], lab.state);
    const before = lab.uptimes.length;
    const resuming = lab.startLinux({}, kept);
    await resuming.event('resumed');
    await until('it goes on', () => lab.uptimes.length > before);
    await lab.shutDown(resuming);
    assert.equal(lab.linux.said(says.up), 1, 'it did not boot again');
  },
);

test(
  'qemu-trap killed between the end of the state and the guest that goes on: the one that takes over lets it go',
  needsLinux,
  async (t) => {
    const lab = new SavingLab(t);
    await lab.save();
    const first = lab.startLinux({}, kept);
    await first.event('resumed');
    // As it is in that instant.
    await execute(lab, 'stop');
    writeFileSync(`${lab.runDir}/resuming`, '');
    const next = await replace(lab, first);
    assert.equal((await next.event('takeover'))['guest'], 'paused');
    const before = lab.uptimes.length;
    await until('it goes on', () => lab.uptimes.length > before);
    assert.ok(!existsSync(`${lab.runDir}/resuming`));
    await lab.shutDown(next);
  },
);

test('a signal to the whole process group does not reach what writes the saved guest', async (t) => {
  const lab = new Lab(t);
  mkdirSync(lab.file('bin'));
  writeFileSync(
    lab.file('bin/cat'),
    `#!/bin/sh\n>'${lab.file('started')}'\nuntil [ -e '${lab.file('go')}' ]; do sleep 0.05; done\nexec /bin/cat\n`,
    { mode: 0o755 },
  );
  const trap = await lab.startGuest({
    options: [
      '--signal',
      'USR2,script=save,default=none',
      '--signal',
      'INT,script=none,monitorcommand=none,default=none',
    ],
    env: { PATH: `${lab.file('bin')}:${process.env['PATH']}` },
  });
  trap.kill('SIGUSR2');
  // From 8.2 on QEMU writes the file itself.
  await until('cat is there, or needless', () => existsSync(lab.file('started')) || !isAlive(trap.pid));
  if (isAlive(trap.pid)) process.kill(-trap.pid, 'SIGINT');
  writeFileSync(lab.file('go'), '');
  assert.equal(await trap.status(), 0);
  assert.equal(trap.verdict['end'], 'saved');
});

test('a guest that the hook of another signal has half saved, and that hangs, is shut down all the same', async (t) => {
  const lab = new Lab(t);
  lab.hook(
    'SIGUSR2',
    `#!/bin/sh
mkdir -p "\${QEMU_TRAP_STATE%/*}"; >"$QEMU_TRAP_STATE.part"
qmp migrate "{\\"uri\\":\\"exec:cat >'$QEMU_TRAP_STATE.part'\\"}"
until qmp query-migrate | grep -q '"completed"'; do sleep 0.05; done
>'${lab.file('written')}'
exec sleep 600
`,
  );
  const trap = await lab.startGuest({
    options: ['--hooks', lab.hooks, '--timeout', '6', '--signal', 'USR2,default=none,timeout=100'],
  });
  trap.kill('SIGUSR2');
  await until('the hook hangs', () => existsSync(lab.file('written')));
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(lab.said('bye'), 1);
  assert.equal(trap.verdict['end'], 'guest-shutdown');
  assert.equal(trap.events('save-abandoned').length, 1);
  assert.ok(!existsSync(`${lab.file('state')}/qemu.state.part`));
  await lab.assertNothingLeft();
});

test('a save that fails just as a shutdown begins is undone, and the guest shut down', async (t) => {
  for (let round = 0; round < 8; round++) {
    const lab = new Lab(t);
    const bundled = readFileSync('hooks/save', 'utf8');
    const at = bundled.indexOf('sync "$part"');
    assert.notEqual(at, -1);
    const path = lab.hook('fails', `${bundled.slice(0, at)}kill -TERM "$QEMU_TRAP_PID"\nexit 1\n`);
    const trap = await lab.startGuest({ options: ['--signal', `USR2,script=${path},default=none`] });
    trap.kill('SIGUSR2');
    assert.equal(await trap.status(), 0, trap.stderr);
    assert.equal(trap.verdict['end'], 'guest-shutdown', trap.stderr);
    assert.equal(lab.said('bye'), 1);
  }
});
