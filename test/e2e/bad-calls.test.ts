import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { usage } from '../../src/options/help.js';
import { Lab, program } from '../support/lab.js';

interface Result {
  readonly status: number | null;
  readonly stderr: string;
  readonly stdout: string;
}

const stateDir = mkdtempSync(join(tmpdir(), 'qemu-trap-state-'));
after(() => rmSync(stateDir, { recursive: true, force: true }));

function call(...words: string[]): Result {
  const { status, stderr, stdout } = spawnSync(process.execPath, [program, '--state-dir', stateDir, ...words], {
    encoding: 'utf8',
    env: { ...process.env, QEMU_TRAP_HOOKS: '' },
    timeout: 20_000,
  });
  return { status, stderr, stdout };
}

/** Would say so if it were ever started. */
const qemu = ['--', 'sh', '-c', 'echo started'];

const rows: readonly [what: string, words: readonly string[], says: RegExp, status?: number][] = [
  ['no command', [], /no QEMU to run/],
  ['nothing after --', ['--'], /no QEMU to run/],
  ['an unknown option', ['--frobnicate', ...qemu], /unknown option '--frobnicate'/],
  ['an unknown option with a value', ['--frobnicate=1', ...qemu], /unknown option '--frobnicate'/],
  ['an unknown short option', ['-x', ...qemu], /unknown option '-x'/],
  ['an unknown --no- option', ['--no-timeout', ...qemu], /unknown option '--no-timeout'/],
  ['an unknown option --constructor', ['--constructor', ...qemu], /unknown option '--constructor': qemu-trap --help/],
  ['an unknown option --__proto__=1', ['--__proto__=1', ...qemu], /unknown option '--__proto__': qemu-trap --help/],
  ['an unknown option --toString', ['--toString', ...qemu], /unknown option '--toString': qemu-trap --help/],
  ['an unknown option --timeout.x=5', ['--timeout.x=5', ...qemu], /unknown option '--timeout\.x': qemu-trap --help/],
  ['a near miss', ['--timeot', '5', ...qemu], /unknown option '--timeot': write --timeout /],
  ['letters swapped', ['--stauts'], /unknown option '--stauts': write --status /],
  ['one dash', ['-check'], /unknown option '-check': write --check /],
  ['upper case', ['--RUN-DIR=/x', ...qemu], /unknown option '--RUN-DIR': write --run-dir /],
  ["an option of QEMU's before --", ['-m', '512', ...qemu], /unknown option '-m': .*QEMU's own go after --/],
  ['a subcommand', ['status'], /^qemu-trap: status: qemu-trap has no subcommands: write --status /],
  [
    "a subcommand of other tools'",
    ['start', 'web'],
    /: start: .* no subcommands: write qemu-trap -- qemu-system-x86_64 /,
  ],
  ['a subcommand with its argument', ['try', 'TERM'], /: write --try /],
  [
    "an option among QEMU's",
    ['--', 'qemu-system-x86_64', '-m', '16', '--timeout', '5'],
    /--timeout: this option of qemu-trap is among QEMU's.*before qemu-system/,
  ],
  [
    "an option with its value among QEMU's",
    ['--', 'nice', 'qemu-system-x86_64', '--run-dir=/x'],
    /--run-dir=\/x: this option of qemu-trap is among QEMU's.*before nice/,
  ],
  ['an option without its value', ['--hooks', ...qemu], /--hooks needs a value/],
  ['an option with an empty value', ['--name=', ...qemu], /--name needs a value/],
  ['an unknown signal', ['--signal', 'SIGFOO,script=x', ...qemu], /unknown signal 'SIGFOO'/],
  ['a signal by its number', ['--signal', '15', ...qemu], /unknown signal '15'/],
  ['SIGKILL', ['--signal', 'KILL,script=x', ...qemu], /SIGKILL cannot be trapped: the kernel/],
  ['SIGCHLD', ['--signal', 'SIGCHLD,script=x', ...qemu], /SIGCHLD cannot be trapped/],
  ['no signal', ['--signal', ',script=x', ...qemu], /no signal/],
  ['an unknown key', ['--signal', 'TERM,command=x', ...qemu], /unknown key 'command': the keys are/],
  ['a key without a value', ['--signal', 'TERM,script', ...qemu], /script has no value/],
  ['a key with an empty value', ['--signal', 'TERM,script=', ...qemu], /script has no value/],
  ['a key twice', ['--signal', 'TERM,script=a,script=b', ...qemu], /script is given twice/],
  [
    'two rules for one signal',
    ['--signal', 'TERM,script=a', '-signal', 'sigterm,script=b', ...qemu],
    /SIGTERM has a rule already/,
  ],
  ['an unknown default', ['--signal', 'TERM,default=stop', ...qemu], /default=stop: write default=quit/],
  ['a rule with a bad timeout', ['--signal', 'TERM,timeout=soon', ...qemu], /'soon' is not a time/],
  ['a bad timeout', ['--timeout', '1mn', ...qemu], /--timeout: '1mn' is not a time: write .*, or infinity/],
  ['a negative timeout', ['--timeout', '-5', ...qemu], /--timeout: '-5' is not a time/],
  ['an infinite timeout', ['--timeout', 'Infinity', ...qemu], /is not a time/],
  ['a bad --kill-after', ['--kill-after', '', ...qemu], /--kill-after needs a value/],
  [
    'a --kill-after without an end',
    ['--kill-after', 'infinity', ...qemu],
    /'infinity' is not possible here: write a time/,
  ],
  ['a --press without an end', ['--press', '1,infinity', ...qemu], /'infinity' is not possible here: write once/],
  ['a --busy-timeout without an end', ['--busy-timeout', 'infinity', ...qemu], /has --timeout infinity/],
  ['a --busy-timeout that is too short', ['--busy-timeout', '30', ...qemu], /shorter than --timeout \(60 s\): write/],
  [
    'a --busy-timeout beside infinity',
    ['--timeout', 'infinity', '--busy-timeout', '1h', ...qemu],
    /with --timeout infinity the guest is never forced: leave one of them out/,
  ],
  [
    "a --busy-timeout beside a rule's infinity",
    ['--signal', 'PWR,timeout=infinity', '--busy-timeout', '1h', ...qemu],
    /with timeout=infinity of SIGPWR the guest is never forced: leave one of them out/,
  ],
  [
    "a --busy-timeout that is shorter than a rule's timeout",
    ['--signal', 'TERM,timeout=2h', '--busy-timeout', '1h', ...qemu],
    /shorter than timeout= of SIGTERM \(7200 s\): write a longer one/,
  ],
  ['a bad --press', ['--press', 'twice', ...qemu], /--press: 'twice' is not a time/],
  ['presses without a gap', ['--press', '0', ...qemu], /--press: 0 is too short/],
  ['a bad --log', ['--log', 'xml', ...qemu], /--log xml: write --log text or --log json/],
  ['a key that is near to one', ['--signal', 'TERM,scrpit=x', ...qemu], /unknown key 'scrpit': write script=VALUE\n/],
  ['a default that is near to one', ['--signal', 'TERM,default=qiut', ...qemu], /default=qiut: write default=quit\n/],
  ['a value that is near to one', ['--on-death', 'kep', ...qemu], /--on-death kep: write --on-death keep\n/],
  ['a --press that is near to once', ['--press', 'onec', ...qemu], /--press onec: write --press once\n/],
  ['metrics of a VM', ['--log', 'prometheus', ...qemu], /--log prometheus works only with --status/],
  ['once among gaps', ['--press', 'once,10', ...qemu], /--press once,10: once stands alone: write --press once/],
  ['a bad --on-death', ['--on-death', 'sleep', ...qemu], /--on-death sleep: write/],
  ['--attach with a command', ['--attach', '/tmp/qmp', ...qemu], /--attach: QEMU is running already: leave out 'sh'/],
  [
    '--attach with --on-death kill',
    ['--attach', '/tmp/qmp', '--on-death', 'kill'],
    /--on-death kill: not possible with --attach/,
  ],
  [
    '--attach to what is not there',
    ['--attach', '/nowhere/qmp'],
    /--attach \/nowhere\/qmp: nothing is listening on it: start QEMU with -qmp/,
  ],
  // One that this user may write to: of another the kernel says EACCES.
  ['--attach to a file', ['--attach', program], /--attach \S+: it is not a socket: name the socket/],
  [
    'an --attach that is too long',
    ['--attach', `/tmp/${'x'.repeat(110)}`],
    /the path has 115 bytes, and a unix socket takes 107/,
  ],
  ['a --ready-fd that is no number', ['--ready-fd', 'x', ...qemu], /--ready-fd x: write the number/],
  [
    'a --ready-fd that is stdin',
    ['--ready-fd', '0', ...qemu],
    /--ready-fd 0: that is stdin, stdout or stderr: write the number of another/,
  ],
  ['a --ready-fd that is stderr', ['--ready-fd', '02', ...qemu], /--ready-fd 02: that is stdin, stdout or stderr/],
  [
    'a --ready-fd that is not open',
    ['--ready-fd', '99', ...qemu],
    /--ready-fd 99: that file descriptor is not open for writing/,
  ],
  [
    'a hooks directory that is not there',
    ['--hooks', '/nowhere/hooks', ...qemu],
    /hooks directory \/nowhere\/hooks: no such directory/,
  ],
  ['-daemonize', ['--', 'qemu-system-x86_64', '-daemonize'], /-daemonize: qemu-trap must stay the parent/],
  ['--daemonize', ['--', 'qemu-system-x86_64', '--daemonize'], /-daemonize/],
  [
    'a run directory that is too long',
    ['--run-dir', `/tmp/${'x'.repeat(90)}`, ...qemu],
    /the paths of its sockets would have 1\d\d bytes, and a unix socket takes 107/,
  ],
  ['a run directory with a double quote', ['--run-dir', '/tmp/a"b', ...qemu], /double quote/],
  ['a run directory that is a file', ['--run-dir', '/etc/passwd', ...qemu], /run directory \/etc\/passwd/],
  ['a run directory that everybody can write', ['--run-dir', '/tmp', ...qemu], /run directory \/tmp: /],
  [
    'an --agent that is too long',
    ['--agent', `/tmp/${'x'.repeat(110)}`, ...qemu],
    /the path has 115 bytes, and a unix socket takes 107/,
  ],
  [
    'a state directory with a quote',
    ['--state-dir', "/tmp/it's", ...qemu],
    /state directory \/tmp\/it's: QEMU cannot take a path with quotes/,
  ],
  [
    'a state directory that is a device',
    ['--state-dir', '/dev/null', ...qemu],
    /state directory \/dev\/null: it is not a directory \(fix: ls -ld \/dev\/null, or name another with --state-dir\)/,
  ],
  ['a QEMU that is not there', ['--', 'qemu-system-nowhere'], /qemu-system-nowhere: not found/, 127],
  ['a QEMU that is not there, by its path', ['--', '/nowhere/qemu'], /not found/, 127],
  ['a QEMU that is a directory', ['--', '/tmp'], /\/tmp: cannot be executed: it is a directory/, 126],
  [
    'a disk without a QEMU',
    ['web.qcow2'],
    /not found: write the name of QEMU .*: qemu-trap -- qemu-system-x86_64 web/,
    127,
  ],
];

for (const [what, words, says, status = 125] of rows) {
  test(`${what}: one line, ${status}, and nothing is started`, () => {
    const result = call(...words);
    assert.equal(result.status, status, result.stderr);
    assert.match(result.stderr, /^qemu-trap: [^\n]+\n$/);
    assert.match(result.stderr, says);
    assert.equal(result.stdout, '');
  });
}

test('what looks like an option of qemu-trap is left to whom it belongs', () => {
  // Each is refused by QEMU for what comes last.
  const last = ['-machine', 'none', '-frobnicate'];
  for (const words of [
    ['timeout', '--kill-after', '5', '20', 'qemu-system-x86_64', ...last],
    ['qemu-system-x86_64', '--name', 'x', ...last],
    ['qemu-system-x86_64', '-append', '--timeout', ...last],
  ]) {
    assert.match(call('--no-shield', '--', ...words).stderr, /-frobnicate: invalid option/);
  }
});

test('a QEMU with a = in its path', (t) => {
  const lab = new Lab(t);
  writeFileSync(lab.file('a=b'), '#!/bin/sh\necho started\n', { mode: 0o755 });
  const result = call('--run-dir', lab.runDir, '--', lab.file('a=b'));
  assert.equal(result.stdout, 'started\n');
});

test('a VM whose name has a line feed has one line of its log on one line', (t) => {
  const lab = new Lab(t);
  const result = call('--run-dir', lab.runDir, '--name', 'a\nb', '--', 'true');
  for (const line of result.stderr.trimEnd().split('\n')) assert.match(line, /^qemu-trap: a_b: /);
});

const notRoot = process.geteuid?.() === 0 ? false : 'only root can become another user';

test('another user than root, with neither a temporary directory nor a home that QEMU could be told', {
  skip: notRoot,
}, (t) => {
  const lab = new Lab(t);
  const copy = lab.ownCopy();
  chmodSync(lab.dir, 0o755);
  const run = (env: NodeJS.ProcessEnv) =>
    spawnSync(
      'setpriv',
      [
        '--reuid',
        '65534',
        '--regid',
        '65534',
        '--clear-groups',
        process.execPath,
        copy,
        '--',
        'sh',
        '-c',
        'echo started',
      ],
      {
        encoding: 'utf8',
        timeout: 20_000,
        env: { PATH: process.env['PATH'], ...env },
      },
    );
  const without = run({ TMPDIR: '/nowhere' });
  assert.equal(without.status, 125);
  assert.match(
    without.stderr,
    /^qemu-trap: run directory: none can be created in \/nowhere \(ENOENT\): name one with --run-dir\n$/,
  );
  const home = mkdtempSync(join(tmpdir(), "it's, here-"));
  chmodSync(home, 0o777);
  try {
    const quoted = run({ HOME: home });
    assert.equal(quoted.stdout, 'started\n', quoted.stderr);
  } finally {
    rmSync(home, { recursive: true });
  }
});

test('a QEMU that is not executable: one line, 126', (t) => {
  const lab = new Lab(t);
  writeFileSync(lab.file('qemu'), '#!/bin/sh\n');
  const result = call('--run-dir', lab.runDir, '--', lab.file('qemu'));
  assert.equal(result.status, 126);
  assert.match(result.stderr, /^qemu-trap: .*qemu: cannot be executed[^\n]*\n$/);
});

test('a QEMU in a directory that is not for this user: one line, 126', { skip: notRoot }, (t) => {
  const lab = new Lab(t);
  const copy = lab.ownCopy();
  chmodSync(lab.dir, 0o755);
  mkdirSync(lab.file('closed'), { mode: 0o700 });
  const words = ['--reuid', '65534', '--regid', '65534', '--clear-groups', process.execPath, copy];
  const run = spawnSync('setpriv', [...words, '--', lab.file('closed/qemu')], { encoding: 'utf8' });
  assert.equal(run.status, 126, run.stderr);
  assert.match(run.stderr, /^qemu-trap: .*qemu: cannot be executed: it must be a program file[^\n]*\n$/);
});

test('a current directory that was removed: one line, where it is needed', (t) => {
  const lab = new Lab(t);
  const inRemoved = ['-c', 'mkdir gone && cd gone && rmdir ../gone && exec "$@"', 'sh', process.execPath, program];
  const { status, stderr } = spawnSync('sh', [...inRemoved, '--run-dir', 'here', '--status'], {
    encoding: 'utf8',
    cwd: lab.dir,
  });
  assert.equal(status, 125);
  assert.match(stderr, /^qemu-trap: the current directory was removed: change to another[^\n]*\n$/);
  const version = spawnSync('sh', [...inRemoved, '--version'], { encoding: 'utf8', cwd: lab.dir });
  assert.equal(version.status, 0, version.stderr);
});

test("a run directory of one's own that others could enter is closed to them", (t) => {
  const lab = new Lab(t);
  mkdirSync(lab.runDir);
  chmodSync(lab.runDir, 0o755);
  const result = call('--run-dir', lab.runDir, '--', 'sh', '-c', `stat -c %a ${lab.runDir}`);
  assert.equal(result.stdout, '700\n');
});

test('a run directory with files of others is not closed to them, but refused', (t) => {
  const lab = new Lab(t);
  chmodSync(lab.dir, 0o755);
  writeFileSync(lab.file('notes'), '');
  const result = call('--run-dir', lab.dir, '--', 'sh', '-c', 'echo started');
  assert.equal(result.status, 125);
  assert.match(result.stderr, /^qemu-trap: run directory \S+: it holds other files, [^\n]+ a new directory [^\n]+\n$/);
  assert.equal(result.stdout, '');
  assert.equal(statSync(lab.dir).mode & 0o777, 0o755);
  assert.ok(!existsSync(`${lab.dir}.lock`), 'not even its lock is left');
});

test('--help prints exactly this', () => {
  const result = call('--help');
  assert.equal(result.status, 0);
  assert.equal(result.stdout, usage);
  assert.equal(result.stderr, '');
  for (const line of usage.split('\n')) assert.ok(line.length <= 80, line);
  assert.equal(call('-h').stdout, usage);
  assert.equal(call('--stop', '--all', '--help').stdout, usage);
});

test('--version prints the version of package.json', async () => {
  const { version } = await import('../../package.json');
  for (const option of ['--version', '-V']) assert.equal(call(option).stdout, `${version}\n`);
});

test('a command without -- begins at the first word that is no option', () => {
  const result = call('--timeout', '5', 'sh', '-c', 'echo "$@"', 'sh', '--check');
  assert.match(result.stdout, /^--check -readconfig /);
});

test("QEMU's own statuses come through, every one", () => {
  for (const status of [0, 1, 2, 3, 42, 75, 100, 124, 125, 126, 127, 128, 137, 200, 255]) {
    assert.equal(call('--', 'sh', '-c', `exit ${status}`).status, status);
  }
});
