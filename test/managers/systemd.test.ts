import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { isAlive, read, until } from '../support/lab.js';
import { boxed, insideAgain, isInside, runBox, whyNoBox } from './box.js';
import { background, examples, install, must, sh, testManager, Vm } from './vm.js';

const unit = 'qemu-trap@web';
const dropIns = '/etc/systemd/system/qemu-trap@.service.d';

function property(name: string): string {
  return must(`systemctl show -P ${name} ${unit}`).trim();
}

/** What an administrator would say beside the unit, which stays as it is. */
function dropIn(name: string, ...lines: string[]): void {
  mkdirSync(dropIns, { recursive: true });
  writeFileSync(`${dropIns}/${name}.conf`, `[Service]\n${lines.join('\n')}\n`);
  must('systemctl daemon-reload');
}

function undo(name: string): void {
  rmSync(`${dropIns}/${name}.conf`);
  must('systemctl daemon-reload');
}

/** Lays the unit down; `log` is where its standard error goes, for no journal runs in a box. */
function setUp(log: string): void {
  install();
  mkdirSync('/etc/systemd/system', { recursive: true });
  must(`cp '${examples}/systemd/qemu-trap@.service' /etc/systemd/system/`);
  // The guest's disk and its serial line lie in /tmp here, and its snapshot in /var/tmp: the unit has its own of both.
  dropIn('test', `StandardError=append:${log}`, 'PrivateTmp=no', 'ReadWritePaths=/tmp /var/tmp');
}

boxed('systemd', 'systemd', () => {
  const log = '/tmp/qemu-trap-unit.log';
  rmSync(log, { force: true });
  const vm = testManager({
    name: 'systemd',
    logs: () => [log],
    setUp: () => setUp(log),
    start: () => void must(`systemctl start ${unit}`),
    askToStop: () => void must(`systemctl stop --no-block ${unit}`),
    saysDown: () => property('ActiveState') === 'inactive' && property('Result') === 'success',
    // Its clock is extended as long as qemu-trap is heard: here nobody listens.
    impatient: () => dropIn('impatient', 'TimeoutStopSec=1', 'Type=exec', 'NotifyAccess=none'),
    patient: () => {
      assert.equal(property('Result'), 'timeout');
      must(`systemctl reset-failed ${unit}`);
      undo('impatient');
    },
    stopOrKill: () => void must(`systemctl stop ${unit}`),
    ownStop: null,
    afterCrash: 'restarts',
    shutDown: null,
  });

  const start = async (...how: Parameters<Vm['configure']>): Promise<void> => {
    vm.configure(...how);
    must(`systemctl start ${unit}`);
    await vm.says('up');
  };
  const stopsCleanly = async (): Promise<void> => {
    must(`systemctl stop ${unit}`);
    assert.equal(property('Result'), 'success');
    assert.equal(property('ExecMainStatus'), '0');
    await vm.wasClean();
  };

  test("systemd: the README's own unit", async () => {
    vm.configure();
    const options = /QEMU_OPTIONS="(.*)"/.exec(read('/etc/qemu-trap/web.conf'))?.[1] ?? '';
    const text = /^```ini\n(\[Service\]\n[^`]*)```$/m.exec(readFileSync('README.md', 'utf8'))?.[1] ?? '';
    assert.match(text, /-m 2G -display none \/srv\/web\.qcow2/);
    writeFileSync(
      '/etc/systemd/system/web.service',
      text
        .replace('-m 2G -display none /srv/web.qcow2', options)
        .replace('[Service]', `[Service]\nStandardError=append:${log}`),
    );
    must('systemctl daemon-reload && systemctl start web');
    await vm.says('up');
    await until('it says how it is', () => must('systemctl show -P StatusText web').trim() === 'running');
    must('systemctl stop web');
    assert.equal(must('systemctl show -P Result web').trim(), 'success');
    await vm.wasClean();
  });

  test('systemd: --stop is refused where the unit would be started again, with the command that stops it', async () => {
    dropIn('always', 'Restart=always');
    await start();
    const { status, output } = sh('qemu-trap --stop web');
    assert.equal(status, 125, output);
    assert.match(output, /Restart=always\) would start it again: write systemctl stop qemu-trap@web\.service\n$/);
    await stopsCleanly();
    undo('always');
  });

  test('systemd: QEMU_OPTIONS may have quotes, as in sh', async () => {
    vm.configure();
    const conf = read('/etc/qemu-trap/web.conf').replace(/^(QEMU_OPTIONS=".*)"$/m, `$1 -smbios 'type=1,product=a b'"`);
    writeFileSync('/etc/qemu-trap/web.conf', conf);
    must(`systemctl start ${unit}`);
    await vm.says('up');
    assert.ok(read(`/proc/${vm.qemus[0]}/cmdline`).split('\0').includes('type=1,product=a b'));
    await stopsCleanly();
  });

  test("systemd: a hook of the gallery does in the unit's sandbox what it is for, with what the gallery says", async () => {
    const table = readFileSync('examples/hooks/README.md', 'utf8');
    const needs = (hook: string): string =>
      new RegExp(`^\\| \\[${hook}\\].*\\| \`([^\`]*)\` \\|$`, 'm').exec(table)?.[1] ?? '';
    const does: Readonly<Record<string, string>> = {
      ssh: 'cat /root/.ssh/id',
      metrics: 'touch /var/lib/prometheus/node-exporter/qemu-trap.prom',
      panic: `qmp dump-guest-memory '{"paging":false,"protocol":"file:/var/crash/web.dump"}'`,
      bridge: 'ip link set dev lo up',
    };
    must(
      'mkdir -p /root/.ssh /var/lib/prometheus/node-exporter /var/crash /etc/qemu-trap/hooks && touch /root/.ssh/id',
    );
    const attempts = Object.entries(does).map(
      ([name, command]) => `${command} && echo "${name}: done" || echo "${name}: no"`,
    );
    writeFileSync('/etc/qemu-trap/hooks/SIGUSR1', `#!/bin/sh\n${attempts.join('\n')}\n`, { mode: 0o755 });
    const said = async (): Promise<Record<string, string | undefined>> => {
      const before = read(log).length;
      must(`systemctl kill --kill-whom=main -s USR1 ${unit}`);
      await until('the hook has exited', () => /SIGUSR1: hook .* after/.test(read(log).slice(before)));
      const answers = [
        ...read(log)
          .slice(before)
          .matchAll(/(\w+): (done|no)$/gm),
      ];
      return Object.fromEntries(answers.map(([, name, how]) => [name, how]));
    };
    const all = (how: string): Record<string, string> =>
      Object.fromEntries(Object.keys(does).map((name) => [name, how]));
    await start('obedient', '--signal USR1,script=SIGUSR1,monitorcommand=none,default=none');
    assert.deepEqual(await said(), all('no'), 'without, as the negative control');
    await stopsCleanly();
    dropIn('gallery', ...Object.keys(does).map(needs));
    await start('obedient', '--signal USR1,script=SIGUSR1,monitorcommand=none,default=none');
    assert.deepEqual(await said(), all('done'));
    await stopsCleanly();
    undo('gallery');
    rmSync('/etc/qemu-trap/hooks/SIGUSR1');
  });

  test('systemd: --check knows a TimeoutStopSec that is too short, where no notification extends it', () => {
    const report = (name: string, ...properties: string[]): string => {
      const out = `/tmp/qemu-trap-check-${name}`;
      const path = must('command -v qemu-trap').trim();
      writeFileSync(
        `/etc/systemd/system/check-${name}.service`,
        [
          '[Service]',
          'Type=oneshot',
          `ExecStart=${path} --check --timeout 60 --kill-after 10`,
          'SuccessExitStatus=125',
          `StandardOutput=truncate:${out}`,
          ...properties,
          '',
        ].join('\n'),
      );
      must(`systemctl daemon-reload && systemctl start check-${name}`);
      const text = read(out);
      rmSync(out, { force: true });
      return text;
    };
    assert.match(
      report('short', 'TimeoutStopSec=30'),
      /^check-short\.service: systemd kills it \(SIGKILL\) after TimeoutStopSec=30s, but a shutdown may take 70 s; fix: TimeoutStopSec=80 in check-short\.service/m,
    );
    assert.match(report('long', 'TimeoutStopSec=71'), /no faults\n$/);
    assert.match(report('extended', 'TimeoutStopSec=30', 'NotifyAccess=all'), /no faults\n$/);
  });

  test('systemd: a stop time that is too short, and that no notification extends, is said at the start', async () => {
    dropIn('short', 'TimeoutStopSec=20', 'Type=exec', 'NotifyAccess=none');
    await start();
    await until(`the log says so:\n${vm.log}`, () =>
      vm.log.includes(
        'warning: qemu-trap@web.service: systemd kills it (SIGKILL) after TimeoutStopSec=20s, but a shutdown may take 70 s; fix: TimeoutStopSec=80',
      ),
    );
    await stopsCleanly();
    undo('short');
    const before = vm.log.length;
    await start();
    await stopsCleanly();
    assert.doesNotMatch(vm.log.slice(before), /TimeoutStopSec/);
  });

  test('systemd: the journal has each line with its priority, and a line of JSON as it is', async () => {
    background('/lib/systemd/systemd-journald');
    await until('journald listens', () => existsSync('/run/systemd/journal/stdout'));
    dropIn('test', 'StandardError=journal', 'PrivateTmp=no', 'ReadWritePaths=/tmp /var/tmp');
    const journal = (): { message: string; priority: string }[] =>
      sh(`journalctl -o json -u ${unit}`)
        .output.trim()
        .split('\n')
        .filter((line) => line.startsWith('{'))
        .map((line) => {
          const entry = JSON.parse(line) as Record<string, string>;
          return { message: entry['MESSAGE'] ?? '', priority: entry['PRIORITY'] ?? '' };
        });
    const said = (what: RegExp): Promise<{ priority: string }> =>
      until(`the journal says ${what}`, () => journal().find(({ message }) => what.test(message)));
    await start('stubborn', '--timeout 1');
    must(`systemctl stop ${unit}`);
    assert.equal((await said(/^qemu-trap: web: the VM is running$/)).priority, '6');
    assert.equal((await said(/^qemu-trap: web: warning: SIGTERM: forced stop: /)).priority, '4');
    must(`systemctl reset-failed ${unit}`);
    await start('obedient', '--log json');
    must(`systemctl stop ${unit}`);
    assert.equal(property('Result'), 'success');
    await vm.gone();
    assert.equal((await said(/^\{.*"event":"exit".*\}$/)).priority, '6');
    assert.deepEqual(
      journal().filter(({ message }) => message.startsWith('<')),
      [],
    );
    setUp(log);
  });

  test('systemd: systemctl status says how the VM is, and how long a stop may take yet', async () => {
    await start('stubborn', '--timeout 30');
    await until('running', () => property('StatusText') === 'running');
    must(`systemctl stop --no-block ${unit}`);
    await until('powering down', () =>
      /^shutting down on SIGTERM, at most until \d\d:\d\d:\d\d$/.test(property('StatusText')),
    );
    must(`systemctl kill -s QUIT --kill-whom=main ${unit}`);
    await vm.gone();
    await until('systemd has the exit status', () => property('ExecMainStatus') === '124');
    assert.match(property('StatusText'), /forced stop: .*exit status 124$/);
    must(`systemctl reset-failed ${unit}`);
  });

  test('systemd: a stop outlasts TimeoutStopSec, for qemu-trap extends it as long as it waits itself', async () => {
    dropIn('hasty', 'TimeoutStopSec=2');
    await start('stubborn', '--timeout 8');
    sh(`systemctl stop ${unit}`);
    await vm.gone();
    // Ended by itself at its own deadline, not killed by systemd: that would be `timeout`, and a signal.
    assert.deepEqual([property('Result'), property('ExecMainStatus')], ['exit-code', '124']);
    must(`systemctl reset-failed ${unit}`);
    undo('hasty');
  });

  test('systemd, WatchdogSec=: a VM that gives its signs of life stays, and one that is not heard is ended', async () => {
    dropIn('watchdog', 'WatchdogSec=2', 'Restart=no');
    await start();
    const signs = new Set<string>();
    await until('four signs of life', () => signs.add(property('WatchdogTimestampMonotonic')).size > 4);
    assert.equal(property('ActiveState'), 'active');
    await stopsCleanly();
    // The negative control.
    dropIn('watchdog', 'WatchdogSec=2', 'Restart=no', 'Type=exec', 'NotifyAccess=none', 'TimeoutStopSec=1');
    await start();
    await until('it is ended', () => property('ActiveState') === 'failed');
    assert.equal(property('Result'), 'watchdog');
    must(`systemctl reset-failed ${unit}`);
    undo('watchdog');
    await until('nothing of the VM is left', () => vm.qemus.length === 0 && vm.traps.length === 0);
  });

  test('systemd: with --timeout infinity no TimeoutStopSec comes as long as qemu-trap is heard, and SIGQUIT ends it', async () => {
    dropIn('hasty', 'TimeoutStopSec=2');
    await start('stubborn', '--timeout infinity --press 3');
    must(`systemctl stop --no-block ${unit}`);
    await until('it says so', () => property('StatusText') === 'shutting down on SIGTERM, until the guest shuts down');
    await until('TimeoutStopSec is over twice', () => vm.log.split('the power button was pressed').length > 3);
    assert.equal(property('ActiveState'), 'deactivating');
    must(`systemctl kill -s QUIT --kill-whom=main ${unit}`);
    await vm.gone();
    await until('systemd has the exit status', () => property('ExecMainStatus') === '124');
    must(`systemctl reset-failed ${unit}`);
    undo('hasty');
  });

  for (const mode of ['control-group', 'mixed'] as const) {
    test(`systemd, KillMode=${mode}: a clean stop`, async () => {
      dropIn('mode', `KillMode=${mode}`);
      await start('lingering');
      await stopsCleanly();
      undo('mode');
    });
  }

  test('systemd, another user than root: it is ready, says how it is, and stops cleanly', async () => {
    dropIn('user', 'User=nobody', 'Group=nogroup');
    must(`chmod 1777 /tmp && chmod 755 ${vm.dir} && chown -R nobody ${vm.dir}`);
    vm.configure();
    must(`chown -R nobody ${vm.dir}`);
    must(`systemctl start ${unit}`);
    await vm.says('up');
    await until('running', () => property('StatusText') === 'running');
    await stopsCleanly();
    undo('user');
  });

  const hook = '/etc/qemu-trap/leaves';
  const [left, reloads, goesOn] = ['/tmp/left', '/tmp/reloads', '/tmp/goes-on'];

  for (const [what, user, isOwn] of [
    ['as root', [], true],
    ['as another user', ['User=nobody', 'Group=nogroup'], true],
    ['as another user, without Delegate=', ['User=nobody', 'Group=nogroup', 'Delegate=no'], false],
    ['with ProtectControlGroups=', ['ProtectControlGroups=yes'], false],
  ] as const) {
    test(`systemd, ${what}: what a hook left is ended${isOwn ? ', for certain' : ''}; ExecReload= and ExecStop= are left alone`, async () => {
      for (const old of [left, reloads, goesOn]) rmSync(old, { force: true });
      const leave = (name: string, wipe: string): string =>
        `setsid setsid ${wipe} sh -c 'echo $$ >>${name}; exec sleep 600 <&- >&- 2>&- 3<&-' &`;
      const certain = isOwn ? leave(left, 'env -i') : '';
      writeFileSync(
        hook,
        `#!/bin/sh\numask 0\n${leave(left, '')}\n${certain}\nuntil [ "$(wc -l <${left})" = ${isOwn ? 2 : 1} ] && [ -s ${reloads} ]; do sleep 0.05; done\n`,
        { mode: 0o755 },
      );
      writeFileSync(reloads, '', { mode: 0o666 });
      chmodSync(reloads, 0o666);
      dropIn(
        'left',
        ...user,
        `ExecReload=/bin/sh -c 'echo $$$$ >${reloads}; until [ -e ${goesOn} ]; do sleep 0.05; done'`,
        `ExecStop=/bin/sh -c 'exec sleep 0.2'`,
      );
      must(`chmod 1777 /tmp && chmod 755 ${vm.dir} && chown -R ${user.length > 0 ? 'nobody' : 'root'} ${vm.dir}`);
      vm.configure('obedient', `--signal USR1,script=${hook}`);
      must(`chown -R ${user.length > 0 ? 'nobody' : 'root'} ${vm.dir}`);
      must(`systemctl start ${unit}`);
      await vm.says('up');
      // A unit that is still activating cannot be reloaded.
      await until('active', () => property('ActiveState') === 'active');
      const ended = (): number => vm.log.split('leaves succeeded').length;
      const before = ended();
      process.kill(Number(property('MainPID')), 'SIGUSR1');
      await until('the hook has left something', () => read(left).trim().split('\n').length === (isOwn ? 2 : 1));
      // It begins while the hook runs, in the same unit.
      must(`systemctl reload --no-block ${unit}`);
      await until('the hook has ended', () => ended() > before);
      const pids = read(left).trim().split('\n').map(Number);
      await until('what it left is ended', () => !pids.some(isAlive));
      assert.ok(isAlive(Number(read(reloads))), 'ExecReload= goes on');
      writeFileSync(goesOn, '');
      await until('the unit is reloaded', () => property('ActiveState') === 'active');
      await stopsCleanly();
      undo('left');
      rmSync('/var/lib/qemu-trap', { recursive: true, force: true });
    });
  }

  test('systemd, KillMode=process and --on-death keep: the guest outlives qemu-trap, the restarted one takes it over, and stops it cleanly', async () => {
    dropIn('mode', 'KillMode=process', 'Restart=always', 'RestartSec=0');
    await start('obedient', '--on-death keep');
    await until('running', () => property('StatusText') === 'running');
    const killed = property('MainPID');
    process.kill(Number(killed), 'SIGKILL');
    await until('restarted', () => property('MainPID') !== killed && property('StatusText') === 'running');
    assert.match(
      vm.log,
      /QEMU started \(pid (\d+)\)\n.*the VM is running\n.*took over QEMU \(pid \1, .* the guest is running\)\n.*the VM is running\n$/,
    );
    await stopsCleanly();
    undo('mode');
  });

  test('systemd: a hook that says "not now" to a SIGTERM from elsewhere leaves the unit as it was', async () => {
    mkdirSync('/etc/qemu-trap/hooks', { recursive: true });
    writeFileSync('/etc/qemu-trap/hooks/SIGTERM', '#!/bin/sh\nexit 75\n', { mode: 0o755 });
    await start();
    process.kill(Number(property('MainPID')), 'SIGTERM');
    await until('it is dropped', () => vm.log.includes('the hook said "not now"'));
    await until('the status is what it was', () => property('StatusText') === 'running');
    assert.equal(property('SubState'), 'running');
    rmSync('/etc/qemu-trap/hooks/SIGTERM');
    await stopsCleanly();
  });
});

/*
 * systemd's own way down ends the box with it: what the guest and qemu-trap said is looked at from outside.
 */
const shared = process.env['BOX_SHARED'];
if ((isInside('poweroff') || isInside('poweroff-limit')) && shared !== undefined) {
  const isLimited = isInside('poweroff-limit');
  setUp(`${shared}/log`);
  const vm = new Vm(() => [`${shared}/log`], shared);
  vm.configure(isLimited ? 'stubborn' : 'lingering', isLimited ? '--timeout infinity --press 1' : '');
  if (isLimited) {
    // The half hour that systemd has of its own for a host's shutdown, in short.
    writeFileSync(`${shared}/limit`, must('systemctl show -P JobTimeoutUSec poweroff.target'));
    mkdirSync('/run/units/poweroff.target.d');
    writeFileSync('/run/units/poweroff.target.d/limit.conf', '[Unit]\nJobTimeoutSec=8s\n');
    // What is left then has this long to heed its SIGTERM, 90 seconds if nobody says.
    mkdirSync('/etc/systemd/system.conf.d', { recursive: true });
    writeFileSync('/etc/systemd/system.conf.d/limit.conf', '[Manager]\nDefaultTimeoutStopSec=2s\n');
    must('systemctl daemon-reload');
  }
  must(`systemctl start ${unit}`);
  await vm.says('up');
  background('systemctl', 'poweroff');
  await new Promise((resolve) => setTimeout(resolve, 60_000));
}

if (!isInside('poweroff') && !isInside('poweroff-limit') && !isInside('tests')) {
  test('systemd, host shutdown: its own half hour is over --timeout infinity', { skip: whyNoBox() }, () => {
    const dir = must('mktemp -d /tmp/qemu-trap-poweroff-XXXXXX').trim();
    const { command, env } = insideAgain('poweroff-limit');
    const { stderr } = runBox('systemd', command, { ...env, BOX_SHARED: dir });
    assert.equal(read(`${dir}/limit`).trim(), '30min', stderr);
    const log = read(`${dir}/log`);
    assert.match(log, /SIGTERM: shutting down; QEMU is left running until the guest has shut down/, stderr);
    assert.doesNotMatch(log, /exit status/);
    rmSync(dir, { recursive: true });
  });

  test('systemd, host shutdown: the VM is shut down with all the rest', { skip: whyNoBox() }, () => {
    const dir = must('mktemp -d /tmp/qemu-trap-poweroff-XXXXXX').trim();
    const { command, env } = insideAgain('poweroff');
    const { stderr } = runBox('systemd', command, { ...env, BOX_SHARED: dir });
    const log = read(`${dir}/log`);
    assert.match(log, /SIGTERM: clean shutdown: the guest powered off .*exit status 0\n$/, stderr);
    assert.match(read(`${dir}/serial`), /guest: bye/);
    rmSync(dir, { recursive: true });
  });
}
