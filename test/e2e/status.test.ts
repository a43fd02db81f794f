import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { baitRunDir, Lab, program, until } from '../support/lab.js';
import type { RunRecord } from '../../src/status/run-record.js';
import { summarize } from '../../src/status/stop-summary.js';

type Row = Record<string, unknown> & { readonly serving: readonly Record<string, unknown>[] };

function ask(words: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, '--status', ...words], { encoding: 'utf8' });
  return {
    status,
    stdout,
    stderr,
    rows: (): Row[] =>
      stdout
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line) as Row),
  };
}

/** No other test's: its VMs are found on the whole host. */
const web = `web-${process.pid}`;

const rowsOf = (lab: Lab, ...words: string[]): Row[] =>
  ask(['--log', 'json', '--state-dir', lab.file('state'), ...words]).rows();

test('--status has a row for each VM that runs, wherever its run directory is, and none when it has gone', async (t) => {
  const lab = new Lab(t);
  assert.deepEqual(
    rowsOf(lab).filter(({ run_dir: dir }) => dir === lab.runDir),
    [],
  );
  const trap = await lab.startGuest({ options: ['--name', 'status-web'] });
  const [row, ...more] = await until('its row', () => {
    const rows = rowsOf(lab).filter(({ run_dir: dir }) => dir === lab.runDir);
    return rows[0]?.['guest'] === 'running' ? rows : null;
  });
  assert.equal(more.length, 0);
  assert.deepEqual(
    [row?.['event'], row?.['vm'], row?.['pid'], row?.['qemu_pid'], row?.serving],
    ['vm', 'status-web', trap.pid, trap.qemuPid, []],
  );
  assert.ok(Number(row?.['uptime_ms']) >= 0 && Number(row?.['uptime_ms']) < 600_000);
  assert.match(ask([]).stdout, new RegExp(`^status-web +${trap.pid} +${trap.qemuPid} +running +\\d+ s +- +- +-$`, 'm'));
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.deepEqual(
    rowsOf(lab).filter(({ run_dir: dir }) => dir === lab.runDir),
    [],
  );
});

test('a VM with a state directory of its own has no history of another one of its name', async (t) => {
  const lab = new Lab(t);
  const name = `namesake-${process.pid}`;
  const environment = { XDG_STATE_HOME: lab.file('default'), HOME: lab.file('home') };
  // As the default directory of a user has it; that of root is not the test's to write to.
  const isUser = process.getuid?.() !== 0;
  const elsewhere = isUser ? lab.file('default/qemu-trap') : lab.file('elsewhere');
  const first = await lab.startGuest({ options: ['--name', name, '--state-dir', elsewhere], env: environment });
  first.kill('SIGTERM');
  assert.equal(await first.status(), 0, first.stderr);
  const second = await lab.startGuest({ options: ['--name', name], env: environment });
  const words = [program, '--status', '--log', 'json', '--run-dir', lab.runDir, '--state-dir', elsewhere, name];
  const row = await until('its row', () => {
    const { stdout } = spawnSync(process.execPath, words, {
      encoding: 'utf8',
      env: { ...process.env, ...environment },
    });
    const [line] = stdout.split('\n');
    return line ? (JSON.parse(line) as Record<string, unknown>) : null;
  });
  assert.deepEqual([row['running'], row['stops'], row['last']], [true, 0, null]);
  second.kill('SIGTERM');
  assert.equal(await second.status(), 0, second.stderr);
});

test('--status tells the signal in progress, what is waited for, the time left, and after the stop how it went', async (t) => {
  const lab = new Lab(t);
  lab.hook('SIGUSR1', `#!/bin/sh\nsleep 1000\n`);
  const options = ['--name', web, '--hooks', lab.hooks, '--timeout', '1000'];
  const trap = await lab.startGuest({ options, temper: 'stubborn' });
  const serving = async (signal: string, waitsFor: string): Promise<Record<string, unknown>> =>
    until(`${signal} waits for ${waitsFor}`, () =>
      rowsOf(lab, web)[0]?.serving.find((each) => each['signal'] === signal && each['waits_for'] === waitsFor),
    );
  trap.kill('SIGUSR1');
  await serving('SIGUSR1', 'hook');
  trap.kill('SIGTERM');
  const left = Number((await serving('SIGTERM', 'guest'))['left_ms']);
  assert.ok(left > 900_000 && left <= 1_000_000, String(left));
  assert.match(
    ask([web]).stdout,
    new RegExp(`^${web} +\\d+ +\\d+ +running +\\S.* SIGTERM \\(guest\\) +\\d+ s +-$`, 'm'),
  );
  assert.match(ask([web]).stdout, new RegExp(`^${web}: to cut the guest off now: kill -QUIT ${trap.pid}$`, 'm'));
  const before = Number((await serving('SIGTERM', 'guest'))['left_ms']);
  assert.ok(before <= left);
  trap.kill('SIGQUIT');
  assert.equal(await trap.status(), 124);

  const [row] = rowsOf(lab, web);
  assert.equal(row?.['running'], false);
  assert.deepEqual([row?.['stops'], row?.['cut_off'], row?.['clean']], [1, 1, 0]);
  assert.equal((row?.['last'] as RunRecord | undefined)?.status, 124);
  const { stdout } = ask(['--state-dir', lab.file('state'), web]);
  assert.match(stdout, new RegExp(`^${web} +- +- +stopped +- +- +- +\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d quit, `, 'm'));
  assert.match(stdout, new RegExp(`^${web}: last run: SIGTERM: forced stop: the wait was cut short`, 'm'));
});

test('a QEMU whose qemu-trap was killed is shown with what to do', async (t) => {
  const lab = new Lab(t);
  const options = ['--name', web, '--on-death', 'keep'];
  const trap = await lab.startGuest({ options });
  await until('its row', () => rowsOf(lab, web)[0]?.['guest'] === 'running');
  await trap.die();
  const [row] = rowsOf(lab, web);
  assert.deepEqual([row?.['pid'], row?.['qemu_pid']], [null, trap.qemuPid]);
  assert.match(
    ask([web]).stdout,
    new RegExp(`^${web}: its qemu-trap was killed; the next start in \\S+/run takes the guest over`, 'm'),
  );
  const next = await lab.startGuest({ options });
  await until('it is served', () => rowsOf(lab, web)[0]?.['pid'] === next.pid);
  next.kill('SIGTERM');
  assert.equal(await next.status(), 0);
});

test('--status takes its options before and after the names', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest({ options: ['--name', web] });
  const [row] = await until('its row', () =>
    ask([web, '--log', 'json', '--run-dir', lab.runDir]).rows().length === 1
      ? ask([web, '--log', 'json', '--run-dir', lab.runDir]).rows()
      : null,
  );
  assert.equal(row?.['vm'], web);
  trap.kill('SIGTERM');
  await trap.status();
});

test('a VM whose saved state was refused has its row as well', async (t) => {
  const lab = new Lab(t);
  mkdirSync(lab.file('state'));
  writeFileSync(lab.file(`state/${web}.state`), 'no state', { mode: 0o600 });
  const trap = await lab.startGuest({ options: ['--name', web] });
  assert.equal(trap.events('state-refused').length, 1);
  await until('its row', () => rowsOf(lab, web)[0]?.['guest'] === 'running');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
});

test('a normal user sees their own VMs only, and root sees all', {
  skip: process.geteuid?.() !== 0 && 'needs root',
}, async (t) => {
  const lab = new Lab(t);
  spawnSync('chmod', ['755', lab.dir]);
  const copy = lab.ownCopy();
  const trap = await lab.startGuest({ options: ['--name', 'roots'] });
  await until('root sees it', () => rowsOf(lab, 'roots')[0]);
  // Every folder on the way to the copy is open to all, and the run directory is not.
  const asked = spawnSync(process.execPath, [copy, '--status', '--log', 'json'], {
    encoding: 'utf8',
    uid: 65534,
    gid: 65534,
    env: { PATH: process.env['PATH'] },
  });
  assert.equal(asked.status, 0, asked.stderr);
  assert.doesNotMatch(asked.stdout, /roots/);
  trap.kill('SIGTERM');
  await trap.status();
});

test('what another user has put in the place of a status does no harm', async (t) => {
  const lab = new Lab(t);
  const bait = baitRunDir(t);
  const bad: readonly (() => void)[] = [
    () => spawnSync('mkfifo', [`${bait}/status.json`]),
    () => symlinkSync('/etc/passwd', `${bait}/status.json`),
    () =>
      writeFileSync(
        `${bait}/status.json`,
        '{"vm":"\u001b[31mred\\u001b[0m\\nx","guest":"a","serving":[null,{"signal":1}],"history":7}',
      ),
    () => writeFileSync(`${bait}/status.json`, 'null'),
    () => writeFileSync(`${bait}/status.json`, 'x'.repeat(100_000)),
    () => mkdirSync(`${bait}/status.json`),
  ];
  for (const put of bad) {
    put();
    const { status, stdout, stderr } = ask(['--run-dir', bait]);
    assert.equal(status, 0, stderr);
    assert.doesNotMatch(stdout, /\u001b|root:/);
    assert.match(stdout, /not started/);
    spawnSync('rm', ['-rf', `${bait}/status.json`]);
  }
  assert.equal(lab.left().length, 0);
});

test('a name that nobody knows is one line and 125; no VM at all is said, with status 0', (t) => {
  const lab = new Lab(t);
  const none = ask(['--run-dir', lab.file('nowhere')]);
  assert.deepEqual(
    [none.status, none.stdout],
    [0, `no VM${process.geteuid?.() === 0 ? '' : ' of yours'} runs under qemu-trap here\n`],
  );
  const unknown = ask(['--run-dir', lab.file('nowhere'), '--state-dir', lab.file('state'), 'nobody']);
  assert.equal(unknown.status, 125);
  assert.match(unknown.stderr, /^qemu-trap: nobody: no VM of that name runs, or has run, under qemu-trap here: .*\n$/);
  mkdirSync(lab.file('state'), { mode: 0o700 });
  writeFileSync(lab.file('state/nobody.history'), 'no JSON\n');
  const broken = ask(['--run-dir', lab.file('nowhere'), '--state-dir', lab.file('state'), 'nobody']);
  assert.equal(broken.status, 125);
  assert.match(broken.stderr, /^qemu-trap: nobody: its history \S+ has no line that can be read: move it away\n$/);
});

test('the suggested timeout is twice the slowest of five stops or more, more than one that was too short, and no less than the default', () => {
  const stop = (end: RunRecord['end'], ms: number, cause: RunRecord['cause'] = null): RunRecord => ({
    time: '',
    vm: 'vm',
    end,
    verdict: cause === null ? 'clean' : 'forced',
    cut_off: cause !== null,
    status: 0,
    signal: 'SIGTERM',
    cause,
    ms,
    timeout_ms: 60_000,
    message: '',
  });
  const five = (ms: number): RunRecord[] => [
    ...Array.from({ length: 4 }, () => stop('guest-shutdown', 300)),
    stop('guest-shutdown', ms),
  ];
  assert.deepEqual(summarize([], 60), {
    stops: 0,
    clean: 0,
    cutOff: 0,
    unknown: 0,
    slowestMs: null,
    late: 0,
    suggestedTimeout: null,
  });
  assert.deepEqual(summarize(five(48_200), 60), {
    stops: 5,
    clean: 5,
    cutOff: 0,
    unknown: 0,
    slowestMs: 48_200,
    late: 0,
    suggestedTimeout: 100,
  });
  assert.equal(summarize(five(30), 60).suggestedTimeout, 60);
  assert.equal(summarize(five(48_200).slice(1), 60).suggestedTimeout, null, 'four say nothing');
  assert.equal(
    summarize(
      Array.from({ length: 6 }, () => stop('quit', 60_100, 'deadline')),
      60,
    ).suggestedTimeout,
    null,
  );
  assert.equal(summarize([...five(8_200), stop('quit', 60_100, 'deadline')], 60).suggestedTimeout, 120);
  // One whose end is not known is no stop.
  const unknown: RunRecord = { ...stop('unknown', 0), cut_off: null, status: null, signal: null, ms: null };
  assert.equal(summarize([...five(48_200).slice(1), unknown], 60).suggestedTimeout, null);
});
