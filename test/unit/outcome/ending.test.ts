import assert from 'node:assert/strict';
import { test } from 'node:test';
import { endingOf, verdict, type Circumstances, type EndKind } from '../../../src/outcome/ending.js';
import { noEvidence, readEvent, withEvent, withRunState, type Evidence } from '../../../src/outcome/evidence.js';
import { exitStatus } from '../../../src/outcome/exit-status.js';
import { describeEnd } from '../../../src/outcome/words.js';

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
  button: null,
  started: true,
  bypassesUs: false,
  waitsForCont: false,
  savedState: false,
  isStillThere: false,
  overdueHook: null,
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
    const words = describeEnd(ending, { signal: null, ms: 50, saved: null, status });
    assert.match(words, /^\S[^\n]*\S$/);
    // The words say what the facts say.
    assert.equal(/the guest was cut off/.test(words), cutOff, words);
    assert.equal(/^clean/.test(words), !cutOff && end !== 'start-failed', words);
    assert.equal(/SIGKILL/.test(words), known.signal === 'SIGKILL' || known.action === 'kill', words);
  });
}
