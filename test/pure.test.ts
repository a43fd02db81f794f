import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { exitStatus } from '../src/exit-status.js';
import { hookOutcome, verdict, wordEnding, type Ending } from '../src/outcome.js';
import { gapAfter, parsePress } from '../src/press.js';
import { changesUser, daemonizes, vmName } from '../src/qemu/command-line.js';
import { planLaunch } from '../src/qemu/launch.js';
import { parseSignalSpec } from '../src/signal-spec.js';
import { parseSignal, trappableSignals } from '../src/signals.js';
import { UsageError } from '../src/usage-error.js';

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
  assert.ok(daemonizes(qemu('-daemonize')) && daemonizes(qemu('--daemonize')) && !daemonizes(qemu('-name', 'daemonize')));
  assert.ok(changesUser(qemu('-runas', 'nobody')) && changesUser(qemu('-run-with', 'user=nobody')));
  assert.ok(!changesUser(qemu('-run-with', 'chroot=/x')));
});

const wish = {
  qemu: qemu('-m', '16'), shield: true, dieWithParent: true, helpers: { env: '/usr/bin/env', setpriv: '/usr/bin/setpriv' },
  inherited: [3, 6, 40], marked: [3, 6], withheld: null, descriptorLimit: 1024, monitorsFile: '/run/x/monitors.cfg', savedState: null,
};

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
    const plan = planLaunch({ ...wish, ...change, savedState: 17 });
    assert.equal(plan.controlFd, fds[0], JSON.stringify(change));
    assert.deepEqual(plan.args.slice(-3), ['-incoming', `fd:${fds[1]}`, '-S']);
    assert.equal(plan.stdio[fds[1]], 17);
  }
});

test('signals by any of their names', () => {
  for (const text of ['SIGTERM', 'sigterm', 'TERM', 'term', 'SigTerm']) assert.deepEqual(parseSignal(text), { signal: 'SIGTERM' });
  assert.deepEqual(parseSignal('IOT'), { signal: 'SIGABRT' });
  assert.deepEqual(parseSignal('poll'), { signal: 'SIGIO' });
  for (const text of ['', '15', 'SIG', 'TERMINATE', '__proto__', 'constructor', 'toString']) assert.ok('error' in parseSignal(text), text);
  assert.ok(!trappableSignals.some((signal) => ['SIGKILL', 'SIGSTOP', 'SIGCHLD', 'SIGPIPE', 'SIGIOT', 'SIGPOLL'].includes(signal)));
});

test('a rule in QEMU\'s option style, with ,, for a comma', () => {
  assert.deepEqual(parseSignalSpec('hup,monitorcommand=savevm a,,b,timeout=.5,default=kill,script=x=y'), {
    signal: 'SIGHUP', script: 'x=y', monitorCommand: 'savevm a,b', timeoutMs: 500, defaultAction: 'kill',
  });
  assert.equal(parseSignalSpec('TERM,monitorcommand=none').monitorCommand, null);
  assert.equal(parseSignalSpec('TERM').monitorCommand, undefined);
});

test('any text at all as a rule is read, or refused in one line', () => {
  const pieces = fc.constantFrom('SIGTERM', 'hup', ',', ',,', '=', 'script', 'script=', 'monitorcommand=', 'timeout=', 'default=', 'quit', 'none', '1', '-1', '1e9', ' ', 'ä', '\n', '__proto__');
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.array(pieces).map((each) => each.join(''))), (text) => {
      try {
        parseSignalSpec(text);
      } catch (error) {
        assert.ok(error instanceof UsageError, String(error));
      }
      vmName(qemu('-name', text));
    }),
    { seed: 20261123, numRuns: 5_000 },
  );
});

test('gaps between presses, the last one repeated', () => {
  assert.deepEqual([1, 2, 3].map((presses) => gapAfter(parsePress('0.5,10'), presses)), [500, 10_000, 10_000]);
  assert.equal(gapAfter(parsePress('once'), 1), Infinity);
});

test('how a hook ended', () => {
  assert.deepEqual(hookOutcome(0, null), { kind: 'done' });
  assert.deepEqual(hookOutcome(75, null), { kind: 'not-now' });
  for (let code = 1; code < 256; code++) if (code !== 75) assert.equal(hookOutcome(code, null).kind, 'failed');
  assert.equal(hookOutcome(null, 'SIGKILL').kind, 'failed');
});

const ended: Ending = { code: 0, signal: null, action: 'none', cause: null, guestWent: false, reason: null, started: true, guest: 'running', prevented: null };
const rows: readonly [what: string, ending: Partial<Ending>, status: number, verdict: string][] = [
  ['the guest powered off', { guestWent: true, reason: 'guest-shutdown' }, 0, 'clean'],
  ['QEMU failed to start', { code: 1, started: false }, 1, 'failed-to-start'],
  ['QEMU ended with a status of its own', { code: 3 }, 3, 'by-itself'],
  ['told to quit at the deadline', { action: 'quit', cause: 'deadline', reason: 'host-qmp-quit' }, 124, 'forced'],
  ['the guest went as the quit was said', { action: 'quit', cause: 'deadline', guestWent: true }, 0, 'clean'],
  ['the wait was cut', { action: 'quit', cause: 'cut' }, 124, 'forced'],
  ['a guest that never ran', { action: 'quit', cause: 'never-ran' }, 0, 'clean'],
  ['-no-shutdown', { action: 'quit', cause: 'powered-off', guestWent: true }, 0, 'clean'],
  ['SIGKILL after quit', { action: 'kill', cause: 'deadline', code: null, signal: 'SIGKILL' }, 137, 'killed'],
  ['killed from elsewhere', { code: null, signal: 'SIGKILL' }, 137, 'by-itself'],
  ['a crash', { code: null, signal: 'SIGSEGV' }, 139, 'by-itself'],
  ["another's child, killed here", { action: 'kill', cause: 'deadline', code: null }, 137, 'killed'],
  ["another's child, told to quit", { action: 'quit', cause: 'deadline', code: null }, 124, 'forced'],
  ["another's child, whose guest went", { code: null, guestWent: true, reason: 'guest-shutdown' }, 0, 'clean'],
  ["another's child, told to quit by somebody", { code: null, reason: 'host-qmp-quit' }, 0, 'by-itself'],
  ["another's child, by a signal that it heeds", { code: null, reason: 'host-signal' }, 0, 'host-signal'],
  ["another's child, without a word", { code: null }, 125, 'unknown'],
  ['a crash on quit', { action: 'quit', cause: 'deadline', code: null, signal: 'SIGABRT' }, 134, 'by-itself'],
];
for (const [what, ending, status, which] of rows) {
  test(`exit status and verdict: ${what}`, () => {
    const whole = { ...ended, ...ending };
    assert.equal(exitStatus(whole), status);
    assert.equal(verdict(whole), which);
    assert.ok(wordEnding(whole).length > 0);
  });
}
