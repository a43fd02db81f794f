import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createConnection } from 'node:net';
import { test, type TestContext } from 'node:test';
import { recall } from '../../src/status/history.js';
import {
  execute,
  human,
  Lab,
  monitor,
  program,
  read,
  runState,
  type StartOptions,
  type Trap,
  until,
} from '../support/lab.js';

/*
 * One truth about how it ended: the last line, the hook `end`, the exit status, the history and `--status` of each kind
 * of end, with a real QEMU each.
 */

/** A way to end, and all that is to be told of it. */
const qemuMajor = Number(
  /version (\d+)/.exec(spawnSync('qemu-system-x86_64', ['--version'], { encoding: 'utf8' }).stdout)?.[1],
);

interface Row {
  readonly options?: readonly string[];
  readonly start?: StartOptions;
  /** Without a guest that says it is up. */
  readonly noGuest?: boolean;
  readonly act: (lab: Lab, trap: Trap) => unknown;
  readonly end: string;
  readonly cutOff: boolean;
  readonly status: number;
  readonly words: RegExp;
  readonly skip?: string | false;
}

/** What pvpanic's port does when the guest writes to it; the human monitor plays the guest. */
const panics = (action: string): Pick<Row, 'start' | 'act'> => ({
  start: { qemu: ['-device', 'pvpanic', '-action', `panic=${action}`] },
  act: (lab) => human(lab, 'o /b 0x505 1'),
});

/** A watchdog that nobody feeds: the guest knows nothing of it, so the monitor plays its driver. */
const watchdog = (action: string, ...more: string[]): Pick<Row, 'start' | 'act'> => ({
  start: { qemu: ['-device', 'ib700', '-action', `watchdog=${action}`, ...more] },
  // The shortest time, two seconds (docs of ib700: port 0x443 sets the time and starts it).
  act: (lab) => human(lab, 'o /b 0x443 0xf'),
});

const hasWindow =
  spawnSync('sh', ['-c', 'command -v Xvfb']).status === 0 &&
  /^sdl$/m.test(spawnSync('qemu-system-x86_64', ['-display', 'help'], { encoding: 'utf8' }).stdout);

const rows: Readonly<Record<string, Row>> = {
  'the guest powers off by itself': {
    act: (lab) => execute(lab, 'system_powerdown'),
    end: 'guest-shutdown',
    cutOff: false,
    status: 0,
    words: /clean shutdown: the guest powered off \(QEMU: status 0\)/,
  },
  SIGTERM: {
    act: (_, trap) => trap.kill('SIGTERM'),
    end: 'guest-shutdown',
    cutOff: false,
    status: 0,
    words: /^SIGTERM: clean shutdown/,
  },
  'SIGTERM under -no-shutdown': {
    start: { qemu: ['-no-shutdown'] },
    act: (_, trap) => trap.kill('SIGTERM'),
    end: 'guest-shutdown',
    cutOff: false,
    status: 0,
    words: /clean shutdown/,
  },
  'panic=shutdown': {
    ...panics('shutdown'),
    end: 'panic',
    cutOff: true,
    status: 123,
    words: /^the guest panicked; QEMU exited \(status 0\); the guest was cut off/,
  },
  'panic=exit-failure': {
    ...panics('exit-failure'),
    end: 'panic',
    cutOff: true,
    status: 1,
    words: /^the guest panicked; QEMU exited \(status 1\)/,
  },
  'panic=pause, and SIGTERM': {
    ...panics('pause'),
    act: async (lab, trap) => {
      await human(lab, 'o /b 0x505 1');
      await until('the guest has panicked', () => read(`${lab.runDir}/status.json`).includes('guest-panicked'));
      trap.kill('SIGTERM');
    },
    end: 'panic',
    cutOff: true,
    status: 124,
    words: /^SIGTERM: the guest panicked; qemu-trap told QEMU to quit \(status 0\); the guest was cut off/,
  },
  'panic=none, and SIGTERM': {
    ...panics('none'),
    act: async (lab, trap) => (await human(lab, 'o /b 0x505 1'), trap.kill('SIGTERM')),
    end: 'guest-shutdown',
    cutOff: false,
    status: 0,
    words: /clean shutdown/,
  },
  'watchdog=poweroff': {
    ...watchdog('poweroff'),
    end: 'watchdog',
    cutOff: true,
    status: 123,
    words: /^the guest's watchdog expired; QEMU exited \(status 0\); the guest was cut off/,
  },
  'watchdog=reset under -no-reboot': {
    ...watchdog('reset', '-no-reboot'),
    end: 'watchdog',
    cutOff: true,
    status: 123,
    words: /^the guest's watchdog expired/,
  },
  'watchdog=reset, and SIGTERM': {
    ...watchdog('reset'),
    act: async (lab, trap) => {
      await human(lab, 'o /b 0x443 0xf');
      await lab.guestSaid('up', 2);
      trap.kill('SIGTERM');
    },
    end: 'guest-shutdown',
    cutOff: false,
    status: 0,
    words: /clean shutdown/,
  },
  'watchdog=shutdown': {
    ...watchdog('shutdown'),
    end: 'guest-shutdown',
    cutOff: false,
    status: 0,
    words: /clean shutdown/,
  },
  'watchdog=pause, and SIGTERM': {
    ...watchdog('pause'),
    act: async (lab, trap) => {
      await human(lab, 'o /b 0x443 0xf');
      await until('the guest stands still', () => read(`${lab.runDir}/status.json`).includes('watchdog'));
      trap.kill('SIGTERM');
    },
    end: 'guest-shutdown',
    cutOff: false,
    status: 0,
    words: /clean shutdown/,
  },
  ...Object.fromEntries(
    ['none', 'debug'].map((action): [string, Row] => [
      `watchdog=${action}, and SIGTERM`,
      {
        ...watchdog(action),
        act: async (lab, trap) => {
          const socket = createConnection(`${lab.runDir}/qmp.sock`);
          let heard = '';
          socket.on('data', (chunk) => (heard += chunk));
          socket.write('{"execute":"qmp_capabilities"}\n');
          await until('it tells of events', () => heard.includes('"return"'));
          await human(lab, 'o /b 0x443 0xf');
          await until('the watchdog expires', () => heard.includes('"WATCHDOG"'));
          socket.destroy();
          trap.kill('SIGTERM');
        },
        end: 'guest-shutdown',
        cutOff: false,
        status: 0,
        words: /clean shutdown/,
      },
    ]),
  ),
  "a guest's hibernation (ACPI S4)": {
    // Two bytes, as the register has them: QEMU 11 takes no four there.
    act: (lab) => human(lab, 'o /h 0x604 0x2800'),
    end: 'guest-shutdown',
    cutOff: false,
    status: 0,
    words: /clean shutdown: the guest powered off/,
  },
  'a reset by the guest under -no-reboot': {
    start: { qemu: ['-no-reboot'], temper: 'rebooting' },
    act: (lab) => execute(lab, 'system_powerdown'),
    end: 'guest-reset',
    cutOff: false,
    status: 0,
    words: /clean shutdown: the guest reset itself/,
  },
  'a reset on a monitor under -no-reboot': {
    start: { qemu: ['-no-reboot'] },
    act: (lab) => execute(lab, 'system_reset').catch(() => undefined),
    end: 'quit',
    cutOff: true,
    status: 0,
    words: /told through a monitor to reset the guest, and exited instead .*; the guest was cut off/,
  },
  "a person's quit": {
    act: (lab) => human(lab, 'quit'),
    end: 'quit',
    cutOff: true,
    status: 0,
    words: /^QEMU was told to quit through a monitor \(status 0\); the guest was cut off/,
  },
  '-S, and SIGTERM': {
    start: { qemu: ['-S'] },
    noGuest: true,
    act: async (lab, trap) => (
      await until('its monitors are up', () => read(`${lab.runDir}/status.json`).includes('prelaunch')),
      trap.kill('SIGTERM')
    ),
    end: 'quit',
    cutOff: false,
    status: 0,
    words: /clean stop: the guest never ran/,
  },
  "-S, and a person's quit": {
    start: { qemu: ['-S'] },
    noGuest: true,
    act: async (lab) => (
      await until('its monitors are up', () => read(`${lab.runDir}/status.json`).includes('prelaunch')),
      human(lab, 'quit')
    ),
    end: 'quit',
    cutOff: false,
    status: 0,
    words: /^QEMU was told to quit through a monitor \(status 0\); \d/,
  },
  '-incoming, and SIGTERM': {
    start: { qemu: ['-incoming', 'defer'] },
    noGuest: true,
    act: async (lab, trap) => (
      await until('its monitors are up', () => read(`${lab.runDir}/status.json`).includes('inmigrate')),
      trap.kill('SIGTERM')
    ),
    end: 'quit',
    cutOff: false,
    status: 0,
    words: /clean stop: the guest had not arrived yet/,
  },
  '-incoming of rubbish': {
    start: { qemu: ['-incoming', 'exec:echo rubbish'] },
    noGuest: true,
    act: () => undefined,
    end: 'start-failed',
    cutOff: false,
    status: 1,
    words: /^QEMU failed at startup after [\d.]+ s \(status 1\); exit status 1$/,
  },
  'a QEMU that refuses its command line': {
    start: { qemu: ['-nonsense'] },
    noGuest: true,
    act: () => undefined,
    end: 'start-failed',
    cutOff: false,
    status: 1,
    words: /^QEMU failed at startup after [\d.]+ s \(status 1\); exit status 1$/,
  },
  'a QEMU that never comes up': {
    start: { qemu: ['-chardev', 'socket,id=c,path=PATH,server=on', '-serial', 'chardev:c'] },
    options: ['--timeout', '1', '--kill-after', '0.5'],
    noGuest: true,
    act: async (_, trap) => (await trap.event('start'), trap.kill('SIGTERM')),
    end: 'start-failed',
    cutOff: false,
    status: 137,
    words: /QEMU did not start up: the deadline passed, and qemu-trap killed QEMU with SIGKILL/,
  },
  'migrated away': {
    act: async (lab) => {
      const { client, socket } = await monitor(lab);
      await client.execute('migrate', { uri: `exec:cat >${lab.file('written')}` });
      await until('it is migrated', async () => (await runState(client)) === 'postmigrate');
      await client.execute('quit').catch(() => undefined);
      socket.destroy();
    },
    end: 'migrated',
    cutOff: false,
    status: 0,
    words: /^clean stop: the guest was migrated/,
  },
  saved: {
    options: ['--signal', 'TERM,script=save'],
    act: (_, trap) => trap.kill('SIGTERM'),
    end: 'saved',
    cutOff: false,
    status: 0,
    words: /clean stop: the guest was saved.* the next start resumes it/,
  },
  'a deadline': {
    start: { temper: 'stubborn' },
    options: ['--timeout', '0.5'],
    act: (_, trap) => trap.kill('SIGTERM'),
    end: 'quit',
    cutOff: true,
    status: 124,
    words: /forced stop: the deadline passed, so qemu-trap told QEMU to quit; the guest was cut off/,
  },
  SIGQUIT: {
    act: (_, trap) => trap.kill('SIGQUIT'),
    end: 'quit',
    cutOff: true,
    status: 124,
    words: /forced stop: qemu-trap told QEMU to quit, as SIGQUIT asks/,
  },
  'a QEMU that hangs': {
    options: ['--timeout', '0.5', '--kill-after', '0.5'],
    act: async (lab, trap) => (await lab.hang(trap.qemuPid), trap.kill('SIGTERM')),
    end: 'kill',
    cutOff: true,
    status: 137,
    words: /forced stop: the deadline passed, and qemu-trap killed QEMU with SIGKILL; the guest was cut off/,
  },
  'SIGKILL from elsewhere': {
    act: (_, trap) => process.kill(trap.qemuPid, 'SIGKILL'),
    end: 'crash',
    cutOff: true,
    status: 137,
    words: /^QEMU was killed by SIGKILL from elsewhere \(out of memory\?\); the guest was cut off/,
  },
  'a crash': {
    act: (_, trap) => process.kill(trap.qemuPid, 'SIGSEGV'),
    end: 'crash',
    cutOff: true,
    status: 139,
    words: /^QEMU exited without giving a reason \(killed by SIGSEGV\); the guest was cut off/,
  },
  'a signal that QEMU heeds': {
    options: ['--no-shield'],
    act: (_, trap) => process.kill(trap.qemuPid, 'SIGTERM'),
    end: 'quit',
    cutOff: true,
    status: 0,
    words: /^QEMU exited on a signal from elsewhere \(status 0\); the guest was cut off/,
  },
  'isa-debug-exit': {
    start: { qemu: ['-device', 'isa-debug-exit'] },
    act: (lab) => human(lab, 'o /b 0x501 0x20'),
    status: 65,
    // From some version on QEMU says SHUTDOWN first, of the guest's own doing; 7.2 does not, 10.0 does.
    ...(qemuMajor < 10
      ? {
          end: 'crash',
          cutOff: true,
          words: /^QEMU exited without giving a reason \(status 65\); the guest was cut off/,
        }
      : { end: 'guest-shutdown', cutOff: false, words: /^clean shutdown: the guest powered off \(QEMU: status 65\)/ }),
  },
};

/** A hook `end` that writes down what it is told. */
const endHook = (lab: Lab): string =>
  `#!/bin/sh\necho "$QEMU_TRAP_END $QEMU_TRAP_CUT_OFF $QEMU_TRAP_STATUS $QEMU_TRAP_MESSAGE" >>'${lab.file('told')}'\n`;

async function holds(
  t: TestContext,
  { options = [], start = {}, noGuest, act, end, cutOff, status, words }: Row,
): Promise<void> {
  const lab = new Lab(t);
  lab.hook('end', endHook(lab));
  const own = ['--hooks', lab.hooks, '--name', 'vm', ...options];
  const qemu = start.qemu?.map((word) => word.replace('PATH', lab.file('socket')));
  const how = { ...start, ...(qemu && { qemu }), options: own };
  const trap = noGuest ? lab.start(how) : await lab.startGuest(how);
  await act(lab, trap);
  assert.equal(await trap.status(), status, trap.stderr);
  const { verdict } = trap;
  assert.match(verdict.message, words);
  assert.match(verdict.message, new RegExp(`exit status ${status}$`));
  assert.deepEqual([verdict['end'], verdict['cut_off'], verdict['status']], [end, cutOff, status], trap.stderr);
  assert.equal(verdict.message.includes('the guest was cut off'), cutOff);
  assert.equal(read(lab.file('told')), `${end} ${cutOff ? 'yes' : 'no'} ${status} ${verdict.message}\n`);
  const records = recall(lab.file('state/vm.history'));
  assert.deepEqual(
    records.map((each) => [each.end, each.cut_off, each.status, each.message]),
    [[end, cutOff, status, verdict.message]],
  );
  const asked = spawnSync(
    process.execPath,
    [program, '--status', '--log', 'json', '--state-dir', lab.file('state'), '--run-dir', lab.runDir, 'vm'],
    { encoding: 'utf8' },
  );
  const { last, cut_off } = JSON.parse(asked.stdout) as { last: { end: string; message: string }; cut_off: number };
  assert.deepEqual([last.end, last.message, cut_off], [end, verdict.message, cutOff ? 1 : 0]);
  await lab.assertNothingLeft();
}

for (const [what, row] of Object.entries(rows))
  test(`${what}: ${row.end}, ${row.cutOff ? 'cut off' : 'not cut off'}, ${row.status}`, (t) => holds(t, row));

test('a closed window: quit, cut off, 0', {
  skip: hasWindow ? false : 'needs Xvfb and the SDL window of QEMU (qemu-system-gui)',
}, async (t) => {
  const lab = new Lab(t);
  // It takes a number that is free, and says which as soon as it listens.
  const xvfb = lab.spawn(['Xvfb', '-displayfd', '1', '-screen', '0', '640x480x24'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let said = '';
  xvfb.stdout?.on('data', (chunk) => (said += chunk));
  await until('the display is there', () => said.endsWith('\n'));
  const display = `:${said.trim()}`;
  await holds(t, {
    start: { qemu: ['-display', 'sdl'], env: { DISPLAY: display } },
    act: (_, trap) =>
      until('QEMU has gone with its window', () => {
        spawnSync('python3', ['test/support/close-window.py', display]);
        return trap.events('guest-shutdown').length > 0;
      }),
    end: 'quit',
    cutOff: true,
    status: 0,
    words: /^QEMU's window was closed \(status 0\); the guest was cut off/,
  });
  xvfb.kill('SIGTERM');
});

/** Freezes a process as no SIGKILL can end it (the freezer of control groups v1), until its stdin ends. */
const freezing = `
set -e
mount -t tmpfs tmpfs /mnt && mkdir /mnt/freezer && mount -t cgroup -o freezer freezer /mnt/freezer
group=/mnt/freezer/qemu-trap-test-$$
mkdir "$group"
trap 'echo THAWED >"$group/freezer.state"; sleep 0.1; until rmdir "$group" 2>/dev/null; do sleep 0.1; done' EXIT
[ "$1" = 0 ] || echo "$1" >"$group/cgroup.procs"
echo FROZEN >"$group/freezer.state"
echo frozen
cat
`;
const freeze = ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', freezing, 'sh'];
const cannotFreeze =
  spawnSync(freeze[0] as string, [...freeze.slice(1), '0'], { input: '' }).status === 0
    ? false
    : 'needs root and the freezer of control groups v1';

test('a QEMU that not even SIGKILL ends is told as still there', { skip: cannotFreeze }, async (t) => {
  const lab = new Lab(t);
  lab.hook('end', endHook(lab));
  const trap = await lab.startGuest({
    options: ['--hooks', lab.hooks, '--name', 'vm', '--timeout', '0.5', '--kill-after', '0.5'],
  });
  // None of the test's own: what ends those must not end what thaws.
  const freezer = spawn(freeze[0] as string, [...freeze.slice(1), String(trap.qemuPid)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await new Promise((resolve) => freezer.stdout?.once('data', resolve));
  trap.kill('SIGTERM');
  try {
    // QEMU still has its stderr.
    assert.equal(await until('qemu-trap leaves it', () => trap.child.exitCode, 90_000), 137, trap.stderr);
    assert.match(
      trap.verdict.message,
      /forced stop: the deadline passed, and qemu-trap killed QEMU with SIGKILL, but QEMU is still there; the guest was cut off/,
    );
    assert.match(read(lab.file('told')), /^kill yes 137 .* QEMU is still there/);
    assert.ok(existsSync(lab.runDir), 'whoever comes next has to find it');
  } finally {
    freezer.stdin?.end();
  }
  await until('it has gone', () => lab.left().length === 0);
});
