import assert from 'node:assert/strict';
import fc from 'fast-check';
import { test } from 'node:test';
import { vmName } from '../../../src/qemu/argv.js';
import { parseSignalSpec } from '../../../src/rules/spec.js';
import { UsageError } from '../../../src/system/usage-error.js';

const qemu = (...options: string[]): string[] => ['qemu-system-x86_64', ...options];

test("a rule in QEMU's option style, with ,, for a comma", () => {
  assert.deepEqual(parseSignalSpec('hup,monitorcommand=savevm a,,b,timeout=.5,default=kill,script=x=y'), {
    signal: 'SIGHUP',
    script: 'x=y',
    monitorCommand: 'savevm a,b',
    timeoutMs: 500,
    defaultAction: 'kill',
  });
  assert.equal(parseSignalSpec('TERM,timeout=1h 30min').timeoutMs, 5_400_000);
  assert.equal(parseSignalSpec('TERM,monitorcommand=none').monitorCommand, null);
  assert.equal(parseSignalSpec('TERM').monitorCommand, undefined);
});

test('what is wrong with a rule is said, with what to write instead', () => {
  for (const [text, says] of [
    ['', /no signal: begin with one/],
    ['script=x', /no signal: begin with one/],
    ['SIGTREM', /unknown signal 'SIGTREM'/],
    ['TERM,when=now', /unknown key 'when'/],
    ['TERM,reset', /unknown key 'reset': the keys are /],
    ['TERM,scrpt=x', /unknown key 'scrpt': write script=VALUE$/],
    ['TERM,script', /script has no value/],
    ['TERM,script=', /script has no value: write script=VALUE/],
    ['TERM,timeout=1,timeout=2', /timeout is given twice/],
    ['TERM,timeout=soon', /'soon' is not a time/],
    ['TERM,default=stop', /write default=quit, default=kill or default=none/],
  ] as const)
    assert.throws(
      () => parseSignalSpec(text),
      (error) => error instanceof UsageError && says.test(error.message),
      text,
    );
  for (const action of ['quit', 'kill', 'none'] as const)
    assert.equal(parseSignalSpec(`TERM,default=${action}`).defaultAction, action);
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
