import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { trappableSignals } from '../../src/signals/names.js';
import { Lab, program, read } from '../support/lab.js';

function check(...options: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, '--check', ...options], {
    encoding: 'utf8',
    env: { ...process.env, QEMU_TRAP_HOOKS: '' },
  });
  const objects = (): Record<string, unknown>[] =>
    stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  return { status, stdout, stderr, objects };
}

test('--check prints what every signal would do, and finds no fault in the bundled hooks', () => {
  const report = check();
  assert.equal(report.status, 0, report.stdout);
  for (const signal of trappableSignals) assert.match(report.stdout, new RegExp(`^${signal} `, 'm'));
  assert.match(report.stdout, /^SIGTERM +\/\S+\/hooks\/powerdown +system_powerdown +60 +quit +built-in$/m);
  assert.match(report.stdout, /^SIGQUIT +- +- +0 +quit +built-in$/m);
  assert.match(report.stdout, /^SIGUSR1 +- +- +- +none +ignored$/m);
  assert.match(report.stdout, /no faults\n$/);
  assert.equal(report.stderr, '');
});

test('--check shows rules from options and from the hooks directory', (t) => {
  const lab = new Lab(t);
  lab.hook('usr1', '#!/bin/sh\n');
  const report = check(
    '--log',
    'json',
    '--hooks',
    lab.hooks,
    '--timeout',
    '90',
    '--signal',
    'HUP,script=reset',
    '--signal',
    'TERM,timeout=5,default=kill',
    '--signal',
    'INT,monitorcommand=quit',
    '--signal',
    'PWR,monitorcommand=none',
  );
  assert.equal(report.status, 0, report.stdout);
  const rule = (signal: string) => report.objects().find((each) => each['signal'] === signal);
  const bundled = String(rule('SIGTERM')?.['script']).replace(/powerdown$/, '');
  assert.deepEqual(rule('SIGHUP'), {
    v: 1,
    event: 'rule',
    signal: 'SIGHUP',
    script: `${bundled}reset`,
    monitorcommand: null,
    timeout: 90,
    default: 'none',
    source: 'option',
    ignored: false,
  });
  assert.deepEqual(rule('SIGTERM'), {
    v: 1,
    event: 'rule',
    signal: 'SIGTERM',
    script: `${bundled}powerdown`,
    monitorcommand: 'system_powerdown',
    timeout: 5,
    default: 'kill',
    source: 'option',
    ignored: false,
  });
  assert.deepEqual(rule('SIGINT'), {
    v: 1,
    event: 'rule',
    signal: 'SIGINT',
    script: null,
    monitorcommand: 'quit',
    timeout: 90,
    default: 'quit',
    source: 'option',
    ignored: false,
  });
  assert.deepEqual(rule('SIGPWR'), {
    v: 1,
    event: 'rule',
    signal: 'SIGPWR',
    script: `${bundled}powerdown`,
    monitorcommand: null,
    timeout: 90,
    default: 'quit',
    source: 'option',
    ignored: false,
  });
  assert.deepEqual(rule('SIGUSR1'), {
    v: 1,
    event: 'rule',
    signal: 'SIGUSR1',
    script: `${lab.hooks}/usr1`,
    monitorcommand: null,
    timeout: 90,
    default: 'none',
    source: 'hooks directory',
    ignored: false,
  });
});

test('--check reports every fault with its mend, and 125', (t) => {
  const lab = new Lab(t);
  lab.hook('SIGTERM', '#!/bin/sh\n', 0o644);
  lab.hook('sigterm', '#!/bin/sh\n');
  lab.hook('USR1', '');
  const odd = lab.hook("it's", '#!/bin/sh\n', 0o600);
  const options = ['--hooks', lab.hooks, '--signal', `HUP,script=${odd}`, '--signal', 'USR2,script=nowhere'];
  const report = check(...options, '--log', 'json');
  assert.equal(report.status, 125);
  const faults = report.objects().filter(({ event }) => event === 'hook-fault');
  assert.deepEqual(
    faults.map(({ hook, mend }) => [hook, mend]).sort(),
    [
      [`${lab.hooks}/SIGTERM`, `chmod 755 ${lab.hooks}/SIGTERM`],
      [`${lab.hooks}/USR1`, `rm ${lab.hooks}/USR1`],
      [odd, `chmod 755 '${lab.hooks}/it'\\''s'`],
      [`${lab.hooks}/nowhere`, `cp HOOK ${lab.hooks}/nowhere`],
      [`${lab.hooks}/sigterm`, `mv ${lab.hooks}/sigterm ${lab.hooks}/sigterm.old`],
    ].sort(),
  );
  assert.equal(check(...options).status, 125);
  assert.match(check(...options).stdout, /because \S+SIGTERM is for SIGTERM too and comes first/);
});

test('the mend mends', (t) => {
  const lab = new Lab(t);
  const path = lab.hook('SIGTERM', '#!/bin/sh\n', 0o644);
  chmodSync(path, 0o666);
  for (let fault = 0; fault < 5; fault++) {
    const report = check('--hooks', lab.hooks, '--log', 'json');
    if (report.status === 0) return;
    const mend = String(report.objects().find(({ event }) => event === 'hook-fault')?.['mend']);
    assert.equal(spawnSync('sh', ['-c', mend]).status, 0, mend);
  }
  assert.fail('it did not');
});

test('a SIGTERM rule that never stops the VM is a fault', (t) => {
  const lab = new Lab(t);
  writeFileSync(lab.file('x'), '');
  const report = check('--signal', 'TERM,script=reset');
  assert.equal(report.status, 125);
  assert.match(report.stdout, /SIGTERM with default=none never forces a guest that stays/);
});

test('--check shows the steps of a directory, and what is passed over in it', (t) => {
  const lab = new Lab(t);
  mkdirSync(`${lab.hooks}/SIGTERM.d`, { mode: 0o755 });
  for (const name of ['20-drain', '10-notify', '30-old.sh']) lab.hook(`SIGTERM.d/${name}`, '#!/bin/sh\n');
  lab.hook('SIGTERM.d/40-not', '#!/bin/sh\n', 0o644);
  lab.hook('term', '#!/bin/sh\n');
  const report = check('--hooks', lab.hooks);
  assert.equal(report.status, 125);
  assert.match(report.stdout, /^SIGTERM +\S+\/term +system_powerdown/m);
  assert.match(report.stdout, /fix: mv \S+SIGTERM\.d \S+SIGTERM\.d\.old/);
  rmSync(`${lab.hooks}/term`);
  const { stdout } = check('--hooks', lab.hooks);
  assert.match(stdout, /^SIGTERM +\S+\/SIGTERM\.d\/\{10-notify,20-drain\} +system_powerdown/m);
  assert.match(stdout, /30-old\.sh: it is skipped because of its name.*mv \S+30-old\.sh \S+30-old$/m);
  assert.match(stdout, /40-not: it is not executable, so it is skipped; fix: chmod 755/);
  assert.deepEqual(
    check('--hooks', lab.hooks, '--log', 'json')
      .objects()
      .find(({ signal }) => signal === 'SIGTERM')?.['steps'],
    ['10-notify', '20-drain'],
  );
});

test('--check knows the events of QEMU, and what was probably meant by the name of none', (t) => {
  const lab = new Lab(t);
  for (const name of ['GUEST_PANICKED', 'RESET', 'STOP.d', 'RESTE', 'guest_paniked', 'WATCHDOG.sh', 'MEM_UNPLUG_ERROR'])
    lab.hook(name, '#!/bin/sh\n');
  lab.hook('README', 'what lies here\n', 0o644);
  lab.hook('reset', '#!/bin/sh\n');
  const report = (...qemu: string[]): { faults: string[][]; notes: string[]; hooks: string[] } => {
    const all = check('--hooks', lab.hooks, '--log', 'json', ...qemu).objects();
    const last = (path: unknown): string => String(path).split('/').at(-1) as string;
    const of = (name: string) => all.filter(({ event }) => event === name);
    return {
      faults: of('hook-fault')
        .filter(({ severity }) => severity === 'fault')
        .map(({ hook, fix }) => [last(hook), last(fix)])
        .sort(),
      notes: of('hook-meaning')
        .map(({ hook }) => last(hook))
        .sort(),
      hooks: of('hook').map(({ hook }) => last(hook)),
    };
  };
  const { faults, notes, hooks } = report();
  assert.deepEqual(notes, ['RESET', 'STOP.d', 'reset']);
  assert.deepEqual(faults, [
    ['RESTE', 'RESTE.old'],
    ['WATCHDOG.sh', 'WATCHDOG'],
    ['guest_paniked', 'guest_paniked.old'],
  ]);
  for (const name of ['GUEST_PANICKED', 'RESET', 'STOP.d', 'MEM_UNPLUG_ERROR']) assert.ok(hooks.includes(name), name);
  lab.hook('OF_ANOTHER_QEMU', '#!/bin/sh\n');
  assert.ok(!report().faults.some(([name]) => name === 'OF_ANOTHER_QEMU'), 'nobody can tell without a QEMU');
  const asked = report('--', 'qemu-system-x86_64');
  assert.ok(asked.faults.some(([name]) => name === 'OF_ANOTHER_QEMU'));
  assert.ok(asked.hooks.includes('GUEST_PANICKED'), 'by the schema of the QEMU that is given');
});

test('--check finds what will never run, with the name that was probably meant', (t) => {
  const lab = new Lab(t);
  const meant = {
    stop: 'SIGTERM',
    'post-start': 'ready',
    'start.sh': 'start',
    'sigterm.py': 'SIGTERM',
    Reset: 'reset',
    READY: 'ready',
    end_: 'end',
    Started: 'ready',
    EVENT_STOP: 'STOP',
    'GUEST-PANICKED': 'GUEST_PANICKED',
    GUEST_PANIC: 'GUEST_PANICKED',
    'WATCHDOG_.d': 'WATCHDOG',
    guest_panicked: 'GUEST_PANICKED',
    SIGTREM: 'SIGTERM',
    SIGHPU: 'SIGHUP',
  };
  // One that is out of the way, one that a rule names, one for a rule to name, helpers, and what cannot be run.
  const silent = ['end.bak', 'WATCHDOG~', 'RESUME.d.old', 'reload', 'powerdown', 'lib.sh', 'notify', 'SIGHUP'];
  for (const name of [...Object.keys(meant), ...silent]) lab.hook(name, '#!/bin/sh\n');
  lab.hook('RESUMED', 'what RESUME is for\n', 0o644);
  lab.hook('SIGHPU', '#!/bin/sh\n', 0o644);
  lab.hook('stat', '#!/bin/sh\n');
  const found = check('--hooks', lab.hooks, '--signal', 'USR1,script=reload', '--log', 'json')
    .objects()
    .filter(({ event }) => event === 'hook-fault');
  const rest = found.find(({ hook }) => hook === lab.hooks);
  assert.match(
    String(rest?.message),
    /no signal or event runs these files by their names: RESUME.d.old, RESUMED, WATCHDOG~, end.bak, lib.sh, notify;/,
  );
  const fixes = (severity: string): [string, string][] =>
    found
      .filter((each) => each['severity'] === severity && each !== rest)
      .map(({ hook, message }) => [
        String(hook).split('/').at(-1) as string,
        / (\w+)(, or [^;]*)? is (probably )?meant;/.exec(String(message))?.[1] ?? '',
      ]);
  assert.deepEqual(Object.fromEntries(fixes('fault')), meant);
  assert.deepEqual(fixes('note'), [['stat', 'start']], 'it may be a helper of another script');
});

test('what a shell says of a script is a note, and the script is not run for that', (t) => {
  const lab = new Lab(t);
  const ran = `echo ran >"${lab.file('ran')}"`;
  lab.hook('SIGTERM', `#!/bin/sh\n${ran}\nif true; then\n`);
  lab.hook('end', `#!/usr/bin/env bash\n${ran}\n}\n`);
  lab.hook('ready', `#!/bin/bash\nshopt -s extglob\n${ran}\nlist=(a b)\ncase $1 in !(x)) ;; esac\n`);
  mkdirSync(`${lab.hooks}/SIGINT.d`, { mode: 0o755 });
  lab.hook('SIGINT.d/10-a', `#!/bin/bash\n${ran}\n}\n`);
  // A program of another place is not run, whatever it is called.
  const other = lab.file('bash');
  writeFileSync(other, `#!/bin/sh\n${ran}\nexit 1\n`, { mode: 0o755 });
  lab.hook('SIGHUP', `#!${other}\n`);
  const { status, stdout } = check('--hooks', lab.hooks);
  assert.equal(status, 0, stdout);
  assert.match(stdout, /^note: hook \S+\/SIGTERM: sh -n says: .*[Ss]yntax error.*; rehearse it with --try$/m);
  for (const name of ['end', 'SIGINT.d/10-a']) assert.match(stdout, new RegExp(`/${name}: bash -n says: `));
  assert.equal(stdout.split(' -n says: ').length, 4, stdout);
  assert.equal(read(lab.file('ran')), '');
  assert.match(stdout, new RegExp(`^hooks directory: ${lab.hooks} \\(5 hooks of yours\\)$`, 'm'));
});

test('no fix takes a file away, or puts one in the place of another', (t) => {
  const lab = new Lab(t);
  for (const name of ['stop', 'SIGTERM.sh', 'TERM.sh', 'RESET']) lab.hook(name, '#!/bin/sh\n');
  for (const name of ['RESET.d', 'WATCHDOG.d']) mkdirSync(`${lab.hooks}/${name}`, { mode: 0o755 });
  for (const name of ['RESET.d/10-a', 'WATCHDOG.d/10-a', 'WATCHDOG.d/10-a.sh', 'WATCHDOG.d/20 b.sh', 'WATCHDOG.d/é'])
    lab.hook(name, `#!/bin/sh\n# ${name}\n`);
  const kept = (): string[] =>
    (readdirSync(lab.hooks, { recursive: true }) as string[]).map((name) => name.split('/').pop() as string);
  const before = kept().length;
  let report = check('--hooks', lab.hooks, '--log', 'json');
  const fixes = report
    .objects()
    .filter(({ event, severity }) => event === 'hook-fault' && severity === 'fault')
    .map(({ fix }) => String(fix));
  assert.equal(fixes.length, 7, fixes.join('\n'));
  for (const fix of fixes) execFileSync('sh', ['-c', fix]);
  report = check('--hooks', lab.hooks, '--log', 'json');
  assert.equal(report.status, 0, report.stdout);
  assert.equal(kept().length, before);
});

test('a hooks directory that cannot be read is told of, and is not one without hooks', (t) => {
  const lab = new Lab(t);
  lab.hook('start', '#!/bin/sh\nexit 1\n');
  const path = lab.file('locked');
  mkdirSync(path, { mode: 0o755 });
  chmodSync(path, 0o000);
  const isRoot = process.getuid?.() === 0;
  const other = isRoot ? ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'] : [];
  const [command = '', ...words] = [...other, process.execPath, isRoot ? lab.ownCopy() : program];
  chmodSync(lab.dir, 0o755);
  const { status, stderr } = spawnSync(command, [...words, '--check', '--hooks', path], { encoding: 'utf8' });
  assert.equal(status, 125);
  assert.match(stderr, /hooks directory \S+locked: it cannot be read \(EACCES\): chmod 755 it, or name another/);
  const file = spawnSync(process.execPath, [program, '--check', '--hooks', `${lab.hooks}/start`], { encoding: 'utf8' });
  assert.match(file.stderr, /it is no directory: name another with --hooks/);
});

test("--check says what QEMU's command line has not got, so that an event comes and its hook can do something", (t) => {
  const lab = new Lab(t);
  for (const name of ['GUEST_PANICKED', 'WATCHDOG']) lab.hook(name, '#!/bin/sh\n');
  const notes = (...qemu: string[]): string[] =>
    check('--hooks', lab.hooks, '--log', 'json', '--', 'qemu-system-x86_64', ...qemu)
      .objects()
      .filter(({ event, words }) => event === 'qemu-caution' && ['GUEST_PANICKED', 'WATCHDOG'].includes(String(words)))
      .map(({ fix }) => String(fix))
      .sort();
  assert.deepEqual(notes(), [
    '-action panic=pause, if the hook is to dump the guest, or to start it anew',
    '-device i6300esb, or -device ib700',
    '-device pvpanic (pvpanic-pci on others than x86)',
  ]);
  assert.deepEqual(notes('-device', 'pvpanic', '-action', 'panic=pause', '-device', 'ib700'), []);
});

test('--check finds a hook whose interpreter is not there, with the mend', (t) => {
  const lab = new Lab(t);
  lab.hook('SIGTERM', '#!/nowhere/sh -e\nexit 0\n');
  lab.hook('SIGHUP', '#!/usr/bin/env -S nowhere-sh -e\nexit 0\n');
  lab.hook('SIGUSR1', '#!/bin/sh\r\nexit 0\r\n');
  lab.hook('SIGUSR2', '#!/usr/bin/env -S A=b sh -e\nexit 0\n');
  lab.hook('SIGPWR', 'true\n');
  lab.hook('SIGALRM', '#!/usr/bin/env -S -u A -C / sh -e\nexit 0\n');
  lab.hook('SIGVTALRM', '#!/usr/bin/env -S A="b c" sh -e\nexit 0\n');
  const { stdout, status } = check('--hooks', lab.hooks);
  assert.equal(status, 125);
  assert.match(
    stdout,
    /SIGTERM: its interpreter \/nowhere\/sh does not exist; fix: sed -i '1s\|\/nowhere\/sh\|\/\S*\/sh\|' /,
  );
  assert.match(stdout, /SIGHUP: its interpreter nowhere-sh does not exist; fix: \$\{EDITOR:-vi\} /);
  assert.match(stdout, /SIGUSR1: its first line ends in a carriage return/);
  assert.doesNotMatch(stdout, /(SIGUSR2|SIGPWR|SIGALRM|SIGVTALRM): /);
  for (const mend of stdout.matchAll(/fix: (sed .*)$/gm))
    assert.equal(spawnSync('sh', ['-c', mend[1] as string]).status, 0);
  assert.doesNotMatch(check('--hooks', lab.hooks).stdout, /(SIGTERM|SIGUSR1): /);
});

test('--check says of each hook what it is, from where, and what it says of itself', (t) => {
  const lab = new Lab(t);
  lab.hook('SIGHUP', '#!/usr/bin/env -S python3 -u\n# Asks the guest nicely.\n');
  symlinkSync('/bin/true', `${lab.hooks}/SIGUSR2`);
  mkdirSync(`${lab.hooks}/end.d`, { mode: 0o755 });
  lab.hook('end.d/10-mail', '#!/bin/sh\n');
  const options = ['--hooks', lab.hooks, '--signal', `USR1,script=${lab.hook('mine', '#!/bin/sh -e\n\nexit\n')}`];
  const { stdout } = check(...options);
  assert.match(
    stdout,
    /^\/\S+\/hooks\/powerdown +sh script +bundled +shut the guest down through its ACPI power button$/m,
  );
  assert.match(stdout, /^\S+\/SIGHUP +python3 script +hooks directory +Asks the guest nicely\.$/m);
  assert.match(stdout, /^\S+\/SIGUSR2 -> \S+ +program +hooks directory$/m);
  assert.match(stdout, /^\S+\/end\.d +directory of 1 step +hooks directory$/m);
  const hooks = check(...options, '--log', 'json')
    .objects()
    .filter(({ event }) => event === 'hook');
  assert.deepEqual(hooks.find(({ hook }) => String(hook).endsWith('/powerdown'))?.['runs'], [
    'SIGINT',
    'SIGTERM',
    'SIGPWR',
  ]);
});

test("--check says what in QEMU's command line keeps a guest from a clean stop, and what else to know of it", () => {
  const qemu = (...words: string[]) =>
    check('--log', 'json', '--', 'qemu-system-x86_64', ...words)
      .objects()
      .filter(({ event }) => event === 'qemu-caution')
      .map(({ severity, words }) => [severity, words]);
  assert.deepEqual(qemu('-M', 'pc', '-display', 'none', '-serial', 'stdio', '-name', 'acpi=off'), []);
  const cases: readonly [severity: string, shown: string, ...words: string[]][] = [
    ['fault', '-no-acpi', '-no-acpi'],
    ['fault', '-M pc,acpi=off', '-M', 'pc,acpi=off'],
    ['fault', '--machine acpi=off', '--machine', 'acpi=off'],
    ['fault', '-daemonize', '-daemonize'],
    ['note', '-no-shutdown', '-no-shutdown'],
    ['note', '-action shutdown=pause', '-action', 'shutdown=pause'],
    ['note', '-no-reboot', '-no-reboot'],
    ['note', '-serial mon:stdio', '-serial', 'mon:stdio'],
    ['note', '-nographic', '-nographic'],
    ['note', '-chardev stdio,mux=on,id=c', '-chardev', 'stdio,mux=on,id=c'],
    ['note', '-runas, -run-with user=', '-runas', 'nobody'],
  ];
  for (const [severity, shown, ...words] of cases) assert.deepEqual(qemu(...words), [[severity, shown]], shown);
  assert.doesNotMatch(check('--on-death', 'keep', '--', 'qemu-system-x86_64', '-runas', 'nobody').stdout, /^note/m);
  assert.equal(check('--', 'qemu-system-x86_64', '-no-reboot').status, 0);
  const noAcpi = check('--', 'qemu-system-x86_64', '-no-acpi');
  assert.equal(noAcpi.status, 125);
  assert.match(noAcpi.stdout, /QEMU's -no-acpi: the guest has no ACPI, so it never hears its power button: .*; fix: /);
  assert.equal(check('--signal', 'TERM,script=guest-shutdown', '--', 'qemu-system-x86_64', '-no-acpi').status, 0);
  const missing = check('--', 'qemu-system-nowhere');
  assert.equal(missing.status, 125);
  assert.match(missing.stdout, /qemu-system-nowhere: not found: install QEMU/);
});

test('--check finds a hook under a name that no signal looks for', (t) => {
  const lab = new Lab(t);
  const odd = ['SIGTREM', 'SIGKILL', 'SIGIOT', 'SigHup', 'Usr1', 'SIGUSR2.sh', 'SIGFOO.d'];
  for (const name of [
    ...odd,
    'powerdown',
    'signals',
    'sigterm~',
    'SIGTERM.bak',
    'usr2',
    'SIGASKED',
    'kill-all',
    'README',
  ])
    lab.hook(name, '#!/bin/sh\n');
  const { stdout, status } = check('--hooks', lab.hooks, '--signal', 'ALRM,script=SIGASKED');
  assert.equal(status, 125);
  const found = [...stdout.matchAll(/^hook \S+\/(\S+): (?:no signal|nothing) runs it.*fix: mv \S+ \S+\/(\S+)$/gm)].map(
    ([, name, better]) => [name, better],
  );
  assert.deepEqual(found.sort(), [
    ['SIGFOO.d', 'SIGFOO.d.old'],
    ['SIGIOT', 'SIGABRT'],
    ['SIGKILL', 'SIGKILL.old'],
    ['SIGTREM', 'SIGTERM'],
    ['SIGUSR2.sh', 'SIGUSR2'],
    ['SigHup', 'SIGHUP'],
    ['Usr1', 'SIGUSR1'],
  ]);
});

test("a script of one's own that is called pause, elsewhere than in the hooks directory, keeps its button", (t) => {
  const lab = new Lab(t);
  writeFileSync(lab.file('pause'), '#!/bin/sh\n', { mode: 0o755 });
  lab.hook('reset', '#!/bin/sh\n');
  symlinkSync('reset', `${lab.hooks}/SIGUSR1`);
  const { stdout } = check(
    '--hooks',
    lab.hooks,
    '--signal',
    `TERM,script=${lab.file('pause')}`,
    '--signal',
    'HUP,script=reset',
    '--signal',
    'PWR,script=pause',
  );
  assert.match(stdout, /^SIGTERM +\S+pause +system_powerdown +60 +quit +option$/m);
  for (const signal of ['SIGHUP', 'SIGPWR'])
    assert.match(stdout, new RegExp(`^${signal} +\\S+ +- +60 +none +option$`, 'm'));
  assert.match(stdout, /^SIGUSR1 +\S+ +- +60 +none +hooks directory$/m);
});

test('--check runs nothing but a QEMU: a script that would start its VM is not asked', (t) => {
  const lab = new Lab(t);
  const script = lab.file('start-web');
  writeFileSync(script, `#!/bin/sh\ntouch ${lab.file('started')}\n`, { mode: 0o755 });
  const { status } = check('--signal', 'USR1,monitorcommand=stop', '--', script);
  assert.equal(status, 0);
  assert.ok(!existsSync(lab.file('started')));
});
