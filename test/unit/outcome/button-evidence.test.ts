import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type ButtonEvidence,
  type ButtonReading,
  buttonStateOf,
  hasBegunToListen,
  isSettled,
  isUselessToPress,
  noButtonEvidence,
  withNewGuest,
  withPlace,
  withPress,
  withReading,
} from '../../../src/outcome/button-evidence.js';
import { adviseOnButton, buttonStates, describeButton, explainCutOff } from '../../../src/outcome/button-words.js';

/*
 * Every sequence of presses, readings and resets, held against what the contract says of the whole sequence.
 */

const registers = { listens: true, isPending: false, isAwakened: false };
const readings: Readonly<Record<string, ButtonReading>> = {
  deaf: { ...registers, listens: false },
  clear: registers,
  pending: { ...registers, isPending: true },
  'deaf, pending': { ...registers, listens: false, isPending: true },
  awakened: { ...registers, isPending: true, isAwakened: true },
};
const steps = ['press', 'new guest', 'not placed', ...Object.keys(readings)] as const;

function follow(evidence: ButtonEvidence, step: string): ButtonEvidence {
  if (step === 'press') return withPress(evidence);
  if (step === 'not placed') return withPlace(evidence, 'not-placed');
  return step === 'new guest' ? withNewGuest(evidence) : withReading(evidence, readings[step] as ButtonReading);
}

function* sequences(length: number): Generator<string[]> {
  if (length === 0) return yield [];
  for (const before of sequences(length - 1)) for (const step of steps) yield [...before, step];
}

const listening = (step: string | undefined): boolean => ['clear', 'pending', 'awakened'].includes(step ?? '');

/** `taken`: it listened before and after the last press, the bit is clear, no RESET between. */
function holdTaken(all: readonly string[]): void {
  const before = all.slice(all.lastIndexOf('new guest') + 1, all.lastIndexOf('clear'));
  const wasHeard = before.some((step, i) => listening(step) && before.slice(i + 1).includes('press'));
  // Or the bit itself was seen: QEMU sets it only for a guest that listens.
  assert.ok(all.lastIndexOf('clear') > all.lastIndexOf('new guest'), all.join('; '));
  assert.ok(wasHeard || before.some((step) => step.endsWith('pending')), all.join('; '));
}

test('what is told of the button is what the contract says of the sequence that led there', () => {
  const met = new Set<unknown>();
  for (const all of sequences(6)) {
    const evidence = all.reduce(follow, noButtonEvidence);
    const state = buttonStateOf(evidence);
    met.add(state);
    const after = all.join('; ');
    const last = all.at(-1) ?? '';
    if (state === null) assert.ok(!all.includes('press'), after);
    else if (state === 'not-listening') assert.ok(evidence.press === 'lost' || evidence.listens === false, after);
    else if (state === 'not-taken')
      assert.ok(
        all.some((step) => step.endsWith('pending')),
        after,
      );
    else if (state === 'taken') holdTaken(all);
    if (last === 'pending' && all.includes('press')) assert.equal(state, 'not-taken', after);
    if (last === 'new guest') assert.ok(state === null || state === 'unknown', after);
    if (last === 'press') assert.ok(state === 'not-taken' || state === 'unknown' || state === 'not-listening', after);
    if (['deaf', 'not placed'].includes(last)) assert.ok(isUselessToPress(evidence), after);
  }
  assert.deepEqual([...met].sort(), [null, 'not-listening', 'not-taken', 'taken', 'unknown'].sort());
});

test('a guest begins to listen: after a reading that shows it deaf, or a reset, and with the press before that', () => {
  for (const [sequence, expected] of [
    [['press', 'deaf', 'clear'], true],
    [['press', 'not placed', 'clear'], true],
    [['press', 'deaf', 'awakened'], true],
    [['press', 'new guest', 'clear'], true],
    // The press may have been heard: it came after the last reading.
    [['press', 'deaf', 'press', 'clear'], false],
    [['press', 'clear'], false],
    [['clear', 'press', 'clear'], false],
    [['press', 'deaf', 'pending'], false],
    [['press', 'deaf', 'deaf'], false],
    // Nobody has pressed it.
    [['deaf', 'clear'], false],
    [['new guest', 'clear'], false],
  ] as const) {
    const before = sequence.slice(0, -1).reduce(follow, noButtonEvidence);
    assert.equal(hasBegunToListen(follow(before, sequence.at(-1) as string)), expected, sequence.join('; '));
  }
});

test('a machine without ACPI, and one that cannot be read', () => {
  const pressed = withPress(noButtonEvidence);
  const without = withPlace(pressed, 'no-acpi');
  assert.deepEqual([buttonStateOf(without), isUselessToPress(without)], ['no-acpi', true]);
  const other = withPlace(pressed, 'unreadable');
  assert.deepEqual([buttonStateOf(other), isUselessToPress(other)], ['unknown', false]);
  assert.equal(buttonStateOf(withPlace(noButtonEvidence, 'no-acpi')), null);
});

test('each state has words of its own, and a next step', () => {
  assert.deepEqual([...buttonStates].sort(), ['no-acpi', 'not-listening', 'not-taken', 'taken', 'unknown']);
  assert.equal(new Set(buttonStates.map(describeButton)).size, buttonStates.length);
  assert.equal(new Set(buttonStates.map(explainCutOff)).size, buttonStates.length);
  for (const state of buttonStates) {
    assert.ok(adviseOnButton(state).startsWith(`${describeButton(state)}; `));
    assert.doesNotMatch(explainCutOff(state), /cut off/);
  }
  assert.match(explainCutOff('taken'), /systemd-logind or acpid running/);
  assert.match(explainCutOff('not-taken'), /hangs or ignores ACPI/);
});

test('readings go on until they can say no more', () => {
  for (const [sequence, expected] of [
    [['press'], false],
    [['press', 'deaf'], false],
    [['press', 'clear', 'press'], false],
    [['press', 'pending'], false],
    [['press', 'clear', 'new guest'], false],
    [['press', 'clear'], true],
    [['press', 'pending', 'clear'], true],
    [['clear', 'press', 'clear'], true],
  ] as const)
    assert.equal(isSettled(sequence.reduce(follow, noButtonEvidence)), expected, sequence.join('; '));
  assert.ok(isSettled(withPlace(noButtonEvidence, 'no-acpi')) && isSettled(withPlace(noButtonEvidence, 'unreadable')));
});
