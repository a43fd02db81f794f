import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { endingOf, verdict, type Circumstances, type EndKind } from '../src/outcome/ending.js';
import { noEvidence, readEvent, withEvent, withRunState, type Evidence } from '../src/outcome/evidence.js';
import { exitStatus } from '../src/outcome/exit-status.js';
import { hookOutcome } from '../src/outcome/hook-outcome.js';
import { describeEnding } from '../src/outcome/words.js';
import { parsePress } from '../src/options/press.js';
import { changesUser, daemonizes, vmName, waitsForConnection } from '../src/qemu/argv.js';
import { planLaunch } from '../src/qemu/launch-plan.js';
import { parseSignalSpec } from '../src/rules/spec.js';
import { parseSignal, trappableSignals } from '../src/signals/names.js';
import { UsageError } from '../src/system/usage-error.js';
import { gapAfter } from '../src/dispatch/press-gaps.js';

const qemu = (...options: string[]): string[] => ['qemu-system-x86_64', ...options];

test("the VM's name is QEMU's own, else the same at every start", () => {
  for (const [words, name] of [
    [['-name', 'web'], 'web'],
    [['--name', 'web'], 'web'],
    [['-name', 'guest=web,debug-threads=on'], 'web'],
    [['-name', 'debug-threads=on,guest=web'], 'web'],
    [['-name', 'web,process=x'], 'web'],
    [['-name', 'a,,b'], 'a,b'],
    [['-name', 'old', '-name', 'new'], 'new'],
    [['-name', 'old', '-name', 'process=x'], 'old'],
  ] as const) {
    assert.equal(vmName(qemu(...words)), name);
  }
  assert.match(vmName(qemu('-m', '16')), /^qemu-[0-9a-f]{8}$/);
  assert.equal(vmName(qemu('-m', '16')), vmName(qemu('-m', '16')));
  assert.notEqual(vmName(qemu('-m', '16')), vmName(qemu('-m', '17')));
  assert.match(vmName(qemu('-name')), /^qemu-/);
});

test('options of QEMU that qemu-trap must know of', () => {
  assert.ok(
    daemonizes(qemu('-daemonize')) && daemonizes(qemu('--daemonize')) && !daemonizes(qemu('-name', 'daemonize')),
  );
  assert.ok(changesUser(qemu('-runas', 'nobody')) && changesUser(qemu('-run-with', 'user=nobody')));
  assert.ok(!changesUser(qemu('-run-with', 'chroot=/x')));
});

const wish = {
  qemu: qemu('-m', '16'),
  shield: true,
  dieWithParent: true,
  helpers: { env: '/usr/bin/env', setpriv: '/usr/bin/setpriv' },
  inherited: [3, 6, 40],
  marked: [3, 6],
  withheld: null,
  descriptorLimit: 1024,
  monitorsFile: '/run/x/monitors.cfg',
  savedState: null,
  inheritsNothing: false,
  terminal: 'none' as const,
};

test('a QEMU that waits for a client before it starts', () => {
  for (const [word, value, waits] of [
    ['-serial', 'telnet:127.0.0.1:4555,server', true],
    ['-serial', 'telnet:127.0.0.1:4555,server,nowait', false],
    ['-chardev', 'socket,id=a,path=/x,server=on', true],
    ['-chardev', 'socket,id=a,path=/x,server=on,wait=on', true],
    ['-chardev', 'socket,id=a,path=/x,server=on,wait=off', false],
    ['-chardev', 'socket,id=a,path=/x,server=off', false],
    ['-qmp', 'unix:/x,server,wait=off', false],
    ['-monitor', 'unix:/x,server', true],
    ['-name', 'a,server', false],
  ] as const)
    assert.equal(waitsForConnection(qemu(word, value)), waits ? `${word} ${value}` : null, value);
});

test('the launch leaves the command line untouched', () => {
  const plan = planLaunch(wish);
  assert.deepEqual(plan.args.slice(-5), ['qemu-system-x86_64', '-m', '16', '-readconfig', '/run/x/monitors.cfg']);
  assert.equal(plan.detached, false);
  assert.equal(planLaunch({ ...wish, shield: false }).command, '/usr/bin/setpriv');
  assert.equal(planLaunch({ ...wish, helpers: { env: null, setpriv: null } }).command, 'qemu-system-x86_64');
  assert.equal(planLaunch({ ...wish, helpers: { env: null, setpriv: null } }).detached, true);
});

test("descriptors keep their numbers in QEMU, and qemu-trap's own have the highest free ones below 256 and the limit", () => {
  const { stdio, controlFd } = planLaunch(wish);
  assert.deepEqual(stdio.slice(0, 8), ['inherit', 'inherit', 'inherit', 3, 'ignore', 'ignore', 6, 'ignore']);
  // What is not marked close-on-exec is inherited without a word.
  assert.equal(stdio[40], 'ignore');
  assert.equal(controlFd, 255);
  assert.equal(stdio[255], 'pipe');
  assert.equal(stdio.length, 256);
  for (const [change, fds] of [
    [{ inherited: [255, 253] }, [254, 252]],
    [{ inherited: [255], marked: [255] }, [254, 253]],
    [{ descriptorLimit: 64 }, [63, 62]],
    [{ descriptorLimit: Infinity }, [255, 254]],
    [{ withheld: 255 }, [254, 253]],
    [{ inherited: Array.from({ length: 254 }, (_, i) => i + 3) }, [257, 258]],
  ] as const) {
    const plan = planLaunch({ ...wish, ...change, savedState: { fd: 17, path: '/var/lib/x/web.state' } });
    assert.equal(plan.controlFd, fds[0], JSON.stringify(change));
    assert.deepEqual(plan.args.slice(-3), ['-incoming', 'defer', '-S']);
    assert.deepEqual(plan.incoming, [`file:/proc/self/fd/${fds[1]}`, `fd:${fds[1]}`]);
    assert.equal(plan.stdio[fds[1]], 17);
  }
  const named = planLaunch({
    ...wish,
    marked: [],
    inheritsNothing: true,
    savedState: { fd: 17, path: "/var/lib/o'x/web.state" },
  });
  assert.equal(named.controlFd, null);
  assert.deepEqual(named.incoming, ["file:/var/lib/o'x/web.state", "exec:cat '/var/lib/o'\\''x/web.state'"]);
  assert.deepEqual(named.stdio, ['inherit', 'inherit', 'inherit']);
});

test('signals by any of their names', () => {
  for (const text of ['SIGTERM', 'sigterm', 'TERM', 'term', 'SigTerm'])
    assert.deepEqual(parseSignal(text), { signal: 'SIGTERM' });
  assert.deepEqual(parseSignal('IOT'), { signal: 'SIGABRT' });
  assert.deepEqual(parseSignal('poll'), { signal: 'SIGIO' });
  for (const text of ['', '15', 'SIG', 'TERMINATE', '__proto__', 'constructor', 'toString'])
    assert.ok('error' in parseSignal(text), text);
  assert.ok(
    !trappableSignals.some((signal) =>
      ['SIGKILL', 'SIGSTOP', 'SIGCHLD', 'SIGPIPE', 'SIGIOT', 'SIGPOLL'].includes(signal),
    ),
  );
});

test("a rule in QEMU's option style, with ,, for a comma", () => {
  assert.deepEqual(parseSignalSpec('hup,monitorcommand=savevm a,,b,timeout=.5,default=kill,script=x=y'), {
    signal: 'SIGHUP',
    script: 'x=y',
    monitorCommand: 'savevm a,b',
    timeoutMs: 500,
    defaultAction: 'kill',
  });
  assert.equal(parseSignalSpec('TERM,monitorcommand=none').monitorCommand, null);
  assert.equal(parseSignalSpec('TERM').monitorCommand, undefined);
});

test('any text at all as a rule is read, or refused in one line', () => {
  const pieces = fc.constantFrom(
    'SIGTERM',
    'hup',
    ',',
    ',,',
    '=',
    'script',
    'script=',
    'monitorcommand=',
    'timeout=',
    'default=',
    'quit',
    'none',
    '1',
    '-1',
    '1e9',
    ' ',
    'ä',
    '\n',
    '__proto__',
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(pieces).map((each) => each.join('')),
      ),
      (text) => {
        try {
          parseSignalSpec(text);
        } catch (error) {
          assert.ok(error instanceof UsageError, String(error));
        }
        vmName(qemu('-name', text));
      },
    ),
    { seed: 20261123, numRuns: 5_000 },
  );
});

test('gaps between presses, the last one repeated', () => {
  assert.deepEqual(
    [1, 2, 3].map((presses) => gapAfter(parsePress('0.5,10'), presses)),
    [500, 10_000, 10_000],
  );
  assert.equal(gapAfter(parsePress('once'), 1), Infinity);
});

test('how a hook ended', () => {
  assert.deepEqual(hookOutcome(0, null), { kind: 'done' });
  assert.deepEqual(hookOutcome(75, null), { kind: 'not-now' });
  for (let code = 1; code < 256; code++) if (code !== 75) assert.equal(hookOutcome(code, null).kind, 'failed');
  assert.equal(hookOutcome(null, 'SIGKILL').kind, 'failed');
});

/** What QEMU said, in its order: run states that it answered, and events with their reason or action. */
function saying(...said: readonly string[]): Evidence {
  return said.reduce<Evidence>((evidence, each) => {
    const [name = '', word = ''] = each.split(' ');
    if (name !== name.toUpperCase()) return withRunState(evidence, name);
    const event = readEvent({
      event: name,
      data: { reason: word, action: word, status: word, guest: word.startsWith('guest-') },
    });
    assert.ok(event !== null, each);
    return withEvent(evidence, event);
  }, noEvidence);
}

const ended: Circumstances = {
  evidence: saying('running'),
  code: 0,
  signal: null,
  action: 'none',
  cause: null,
  started: true,
  bypassesUs: false,
  waitsForCont: false,
  savedState: false,
  isStillThere: false,
};
const off = saying('running', 'SHUTDOWN guest-shutdown');
const quit = saying('running', 'SHUTDOWN host-qmp-quit');
const rows: readonly [
  what: string,
  known: Partial<Circumstances>,
  end: EndKind,
  cutOff: boolean,
  status: number,
  verdict: string,
][] = [
  [
    'QEMU failed to start',
    { code: 1, started: false, evidence: noEvidence },
    'start-failed',
    false,
    1,
    'failed-to-start',
  ],
  [
    'QEMU never came up, and was killed',
    { action: 'kill', cause: 'deadline', code: null, signal: 'SIGKILL', started: false, evidence: noEvidence },
    'start-failed',
    false,
    137,
    'killed',
  ],
  [
    'a guest that never ran, told to quit',
    { action: 'quit', cause: 'never-ran', evidence: saying('prelaunch', 'SHUTDOWN host-qmp-quit') },
    'quit',
    false,
    0,
    'clean',
  ],
  [
    'a guest that has not arrived, whose QEMU gives up',
    { code: 1, evidence: saying('inmigrate') },
    'start-failed',
    false,
    1,
    'failed-to-start',
  ],
  [
    'a panic',
    { evidence: saying('running', 'GUEST_PANICKED poweroff', 'SHUTDOWN guest-panic') },
    'panic',
    true,
    123,
    'by-itself',
  ],
  [
    'a panic, and QEMU says 1',
    { code: 1, evidence: saying('running', 'GUEST_PANICKED poweroff', 'SHUTDOWN guest-panic') },
    'panic',
    true,
    1,
    'by-itself',
  ],
  [
    'a panic that QEMU stands still on, told to quit',
    {
      action: 'quit',
      cause: 'panicked',
      evidence: saying('running', 'GUEST_PANICKED pause', 'STOP', 'guest-panicked', 'SHUTDOWN host-qmp-quit'),
    },
    'panic',
    true,
    124,
    'forced',
  ],
  [
    'a panic that the guest runs on after',
    { evidence: saying('running', 'GUEST_PANICKED run', 'SHUTDOWN guest-shutdown') },
    'guest-shutdown',
    false,
    0,
    'clean',
  ],
  [
    'a panic, and then a reset',
    { evidence: saying('running', 'GUEST_PANICKED pause', 'STOP', 'RESET', 'RESUME', 'SHUTDOWN guest-shutdown') },
    'guest-shutdown',
    false,
    0,
    'clean',
  ],
  [
    'a watchdog that powers off',
    { evidence: saying('running', 'WATCHDOG poweroff') },
    'watchdog',
    true,
    123,
    'by-itself',
  ],
  [
    'a watchdog that resets, under -no-reboot',
    { evidence: saying('running', 'WATCHDOG reset', 'SHUTDOWN guest-reset') },
    'watchdog',
    true,
    123,
    'by-itself',
  ],
  [
    'a watchdog that resets, and a shutdown later',
    { evidence: saying('running', 'WATCHDOG reset', 'RESET guest-reset', 'SHUTDOWN guest-shutdown') },
    'guest-shutdown',
    false,
    0,
    'clean',
  ],
  [
    'a watchdog that presses the button',
    { evidence: saying('running', 'WATCHDOG shutdown', 'SHUTDOWN guest-shutdown') },
    'guest-shutdown',
    false,
    0,
    'clean',
  ],
  ['the guest powered off', { evidence: off }, 'guest-shutdown', false, 0, 'clean'],
  [
    'the guest reset itself, under -no-reboot',
    { evidence: saying('running', 'SHUTDOWN guest-reset') },
    'guest-reset',
    false,
    0,
    'clean',
  ],
  [
    'the guest went as the quit was said',
    { action: 'quit', cause: 'deadline', evidence: off },
    'guest-shutdown',
    false,
    0,
    'clean',
  ],
  [
    '-no-shutdown',
    {
      action: 'quit',
      cause: 'powered-off',
      evidence: saying('running', 'SHUTDOWN guest-shutdown', 'STOP', 'shutdown', 'SHUTDOWN host-qmp-quit'),
    },
    'guest-shutdown',
    false,
    0,
    'clean',
  ],
  [
    'off before qemu-trap attached',
    { action: 'quit', cause: 'powered-off', evidence: saying('shutdown', 'SHUTDOWN host-qmp-quit') },
    'guest-shutdown',
    false,
    0,
    'clean',
  ],
  [
    'the guest powered off, and QEMU hung',
    { action: 'kill', cause: 'powered-off', code: null, signal: 'SIGKILL', evidence: off },
    'guest-shutdown',
    false,
    137,
    'killed',
  ],
  [
    'the guest powered off, and QEMU crashed',
    { code: null, signal: 'SIGSEGV', evidence: off },
    'guest-shutdown',
    false,
    139,
    'by-itself',
  ],
  [
    'a wrapper that dropped our words, killed',
    {
      started: false,
      bypassesUs: true,
      code: null,
      signal: 'SIGKILL',
      action: 'kill',
      cause: 'deadline',
      evidence: saying(),
    },
    'kill',
    true,
    137,
    'killed',
  ],
  [
    'saved',
    {
      action: 'quit',
      cause: 'migrated',
      savedState: true,
      evidence: saying('running', 'MIGRATION completed', 'postmigrate', 'SHUTDOWN host-qmp-quit'),
    },
    'saved',
    false,
    0,
    'clean',
  ],
  [
    'migrated',
    { evidence: saying('running', 'MIGRATION completed', 'SHUTDOWN host-qmp-quit') },
    'migrated',
    false,
    0,
    'clean',
  ],
  [
    'migrated, and an older answer came after that',
    { evidence: saying('running', 'MIGRATION completed', 'finish-migrate', 'SHUTDOWN host-qmp-quit') },
    'migrated',
    false,
    0,
    'clean',
  ],
  [
    'migrated, and killed by somebody',
    { code: null, signal: 'SIGKILL', evidence: saying('running', 'MIGRATION completed') },
    'migrated',
    false,
    137,
    'by-itself',
  ],
  [
    'migrated, and continued here',
    { evidence: saying('running', 'MIGRATION completed', 'postmigrate', 'RESUME', 'SHUTDOWN host-qmp-quit') },
    'quit',
    true,
    0,
    'by-itself',
  ],
  [
    'arrived by migration, and told to quit',
    { evidence: saying('inmigrate', 'MIGRATION completed', 'RESUME', 'SHUTDOWN host-qmp-quit') },
    'quit',
    true,
    0,
    'by-itself',
  ],
  ['told to quit at the deadline', { action: 'quit', cause: 'deadline', evidence: quit }, 'quit', true, 124, 'forced'],
  ['the wait was cut', { action: 'quit', cause: 'cut', evidence: quit }, 'quit', true, 124, 'forced'],
  ['told to quit by a person', { evidence: quit }, 'quit', true, 0, 'by-itself'],
  ['a closed window', { evidence: saying('running', 'SHUTDOWN host-ui') }, 'quit', true, 0, 'by-itself'],
  [
    'a reset by a person, under -no-reboot',
    { evidence: saying('running', 'SHUTDOWN host-qmp-system-reset') },
    'quit',
    true,
    0,
    'by-itself',
  ],
  ['a reason that nobody knows', { evidence: saying('running', 'SHUTDOWN of-tomorrow') }, 'quit', true, 0, 'by-itself'],
  ['a signal that QEMU heeds', { evidence: saying('running', 'SHUTDOWN host-signal') }, 'quit', true, 0, 'host-signal'],
  [
    'SIGKILL after quit',
    { action: 'kill', cause: 'deadline', code: null, signal: 'SIGKILL' },
    'kill',
    true,
    137,
    'killed',
  ],
  [
    'not even SIGKILL',
    { action: 'kill', cause: 'deadline', code: null, signal: 'SIGKILL', isStillThere: true },
    'kill',
    true,
    137,
    'killed',
  ],
  ['killed from elsewhere', { code: null, signal: 'SIGKILL' }, 'crash', true, 137, 'by-itself'],
  ['a crash', { code: null, signal: 'SIGSEGV' }, 'crash', true, 139, 'by-itself'],
  ['a crash before QEMU could be asked', { code: 3, evidence: noEvidence }, 'crash', true, 3, 'by-itself'],
  [
    'a crash before QEMU could be asked, of one that was not to run its guest yet',
    { code: 3, evidence: noEvidence, waitsForCont: true },
    'start-failed',
    false,
    3,
    'failed-to-start',
  ],
  ['QEMU exited with a status of its own', { code: 3 }, 'crash', true, 3, 'by-itself'],
  [
    'a crash on quit',
    { action: 'quit', cause: 'deadline', code: null, signal: 'SIGABRT' },
    'crash',
    true,
    124,
    'forced',
  ],
  ["another's child, killed here", { action: 'kill', cause: 'deadline', code: null }, 'kill', true, 137, 'killed'],
  [
    "another's child, told to quit",
    { action: 'quit', cause: 'deadline', code: null, evidence: quit },
    'quit',
    true,
    124,
    'forced',
  ],
  ["another's child, whose guest went", { code: null, evidence: off }, 'guest-shutdown', false, 0, 'clean'],
  ["another's child, told to quit by somebody", { code: null, evidence: quit }, 'quit', true, 0, 'by-itself'],
  [
    "another's child, by a signal that it heeds",
    { code: null, evidence: saying('running', 'SHUTDOWN host-signal') },
    'quit',
    true,
    0,
    'host-signal',
  ],
  ["another's child, without a word", { code: null }, 'crash', true, 125, 'unknown'],
];
for (const [what, known, end, cutOff, status, which] of rows) {
  test(`how it ended: ${what}`, () => {
    const ending = endingOf({ ...ended, ...known });
    assert.deepEqual([ending.end, ending.cutOff, exitStatus(ending), verdict(ending)], [end, cutOff, status, which]);
    const words = describeEnding(ending);
    assert.match(words, /^\S[^\n]*\S$/);
    // The words say what the facts say.
    assert.equal(/the guest was cut off/.test(words), cutOff, words);
    assert.equal(/^clean/.test(words), !cutOff && end !== 'start-failed', words);
    assert.equal(/SIGKILL/.test(words), known.signal === 'SIGKILL' || known.action === 'kill', words);
  });
}
