import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { test, type TestContext } from 'node:test';
import { allRules, describeNoTime, describeUnknownCommand, ruleFor, userCommands } from '../../../src/rules/resolve.js';
import { type Rule, type RuleBook, isIgnored, monitorCommandOf, scriptOf } from '../../../src/rules/rule.js';
import { parseSignalSpec } from '../../../src/rules/spec.js';
import type { SignalName } from '../../../src/signals/names.js';

const bundled = resolve('hooks');

function bookOf(t: TestContext, files: readonly string[], ...specs: readonly string[]): RuleBook {
  const user = mkdtempSync(join(tmpdir(), 'qemu-trap-unit-'));
  t.after(() => rmSync(user, { recursive: true }));
  for (const file of files) {
    const [name = '', target] = file.split('>');
    if (target !== undefined) symlinkSync(target, join(user, name));
    else if (name.endsWith('/')) mkdirSync(join(user, name));
    else writeFileSync(join(user, name), '#!/bin/sh\n', { mode: 0o755 });
  }
  const parsed = specs.map((text) => parseSignalSpec(text));
  return { specs: new Map(parsed.map((spec) => [spec.signal, spec])), dirs: { user, bundled }, timeoutMs: 60_000 };
}

/** Script, command, default action, source. */
function ruleOf(book: RuleBook, signal: SignalName): readonly [string | null, string | null, string, string] {
  const rule = ruleFor(signal, book);
  return [scriptOf(rule)?.path.split('/').at(-1) ?? null, monitorCommandOf(rule), rule.defaultAction, rule.source];
}

test('an option before a file of the hooks directory before what is built in, and each leaves to the next what it does not name', (t) => {
  const built = bookOf(t, []);
  assert.deepEqual(ruleOf(built, 'SIGTERM'), ['powerdown', 'system_powerdown', 'quit', 'built-in']);
  assert.deepEqual(ruleOf(built, 'SIGQUIT'), [null, null, 'quit', 'built-in']);
  assert.deepEqual(ruleOf(built, 'SIGUSR1'), [null, null, 'none', 'built-in']);
  const filed = bookOf(t, ['term', 'SIGUSR1']);
  assert.deepEqual(ruleOf(filed, 'SIGTERM'), ['term', 'system_powerdown', 'quit', 'hooks directory']);
  assert.deepEqual(ruleOf(filed, 'SIGUSR1'), ['SIGUSR1', null, 'none', 'hooks directory']);
  const optioned = bookOf(t, ['term', 'other'], 'TERM,default=kill', 'INT,script=other', 'USR1,monitorcommand=stop');
  assert.deepEqual(ruleOf(optioned, 'SIGTERM'), ['term', 'system_powerdown', 'kill', 'option']);
  assert.deepEqual(ruleOf(optioned, 'SIGINT'), ['other', 'system_powerdown', 'quit', 'option']);
  assert.deepEqual(ruleOf(optioned, 'SIGUSR1'), [null, 'stop', 'none', 'option']);
});

test('what leaves its guest running is followed by no button, by its name in a hooks directory or where a link leads', (t) => {
  const book = bookOf(t, [`SIGHUP>${bundled}/reset`], 'TERM,script=reset', 'INT,monitorcommand=system_reset');
  assert.deepEqual(ruleOf(book, 'SIGHUP'), ['SIGHUP', null, 'none', 'hooks directory']);
  assert.deepEqual(ruleOf(book, 'SIGTERM'), ['reset', null, 'none', 'option']);
  assert.deepEqual(ruleOf(book, 'SIGINT'), [null, 'system_reset', 'none', 'option']);
});

test('a default action of the option decides over what the hook is known to do; what is left to try stays', (t) => {
  const book = bookOf(t, ['other'], 'TERM,script=reset,default=quit', 'INT,script=other,default=none');
  assert.deepEqual(ruleOf(book, 'SIGTERM'), ['reset', 'system_powerdown', 'quit', 'option']);
  assert.deepEqual(ruleOf(book, 'SIGINT'), ['other', 'system_powerdown', 'none', 'option']);
});

test('a rule that asks nothing has nothing to wait for', (t) => {
  const book = bookOf(t, [], 'TERM,timeout=5');
  assert.equal(ruleFor('SIGQUIT', book).timeoutMs, 0);
  assert.equal(ruleFor('SIGTERM', book).timeoutMs, 5_000);
  assert.equal(ruleFor('SIGINT', book).timeoutMs, 60_000);
});

test('stages in the order hook, command, power button; the button follows a command if the rule is to stop the VM', (t) => {
  const stages = (book: RuleBook, signal: SignalName): string[] => ruleFor(signal, book).stages.map(({ kind }) => kind);
  const book = bookOf(
    t,
    ['other'],
    'TERM,monitorcommand=savevm x',
    'INT,script=other,monitorcommand=none',
    'HUP,monitorcommand=savevm x,default=none',
    'PWR,script=other,monitorcommand= system_powerdown ',
    'USR1,monitorcommand=system_powerdown',
    'USR2,script=other,monitorcommand=savevm x,default=kill',
  );
  assert.deepEqual(stages(book, 'SIGTERM'), ['command', 'power-button']);
  assert.deepEqual(stages(book, 'SIGINT'), ['hook']);
  assert.deepEqual(stages(book, 'SIGHUP'), ['command']);
  assert.deepEqual(stages(book, 'SIGPWR'), ['hook', 'power-button']);
  assert.deepEqual(stages(book, 'SIGUSR1'), ['power-button']);
  assert.deepEqual(stages(book, 'SIGUSR2'), ['hook', 'command', 'power-button']);
  assert.deepEqual(stages(book, 'SIGQUIT'), []);
});

test('a rule is ignored if it has no stage and no default action', (t) => {
  const book = bookOf(t, ['USR2'], 'USR1,default=quit', 'HUP,monitorcommand=none,default=none');
  const ignored = allRules(book).filter(isIgnored);
  assert.ok(ignored.some(({ signal }) => signal === 'SIGALRM'));
  for (const signal of ['SIGUSR1', 'SIGUSR2', 'SIGTERM', 'SIGQUIT', 'SIGHUP'] as const)
    assert.equal(
      ignored.some((rule) => rule.signal === signal),
      false,
      signal,
    );
});

test('commands that users have written: each once, with the first signal, and never the power button', (t) => {
  const book = bookOf(t, [], 'TERM,monitorcommand=savevm x', 'HUP,monitorcommand=savevm x', 'INT,monitorcommand=stop');
  assert.deepEqual(
    [...userCommands(allRules(book))],
    [
      ['savevm x', 'SIGHUP'],
      ['stop', 'SIGINT'],
    ],
  );
});

test('a timeout of 0 is told of where it leaves a guest no time, and nowhere else', () => {
  const rule = (signal: SignalName, spec: Partial<Rule>): Rule => ({
    ...{ signal, source: 'option', stages: [{ kind: 'power-button' }], timeoutMs: 0, defaultAction: 'quit' },
    ...spec,
  });
  const harmless = [
    rule('SIGHUP', { timeoutMs: 1 }),
    rule('SIGUSR1', { stages: [] }),
    rule('SIGUSR2', { defaultAction: 'none' }),
  ];
  assert.equal(describeNoTime(harmless), null);
  const found = describeNoTime([rule('SIGTERM', {}), ...harmless, rule('SIGINT', { defaultAction: 'kill' })]);
  assert.match(found?.message ?? '', /no time to shut down on SIGTERM, SIGINT; write --timeout infinity/);
});

test('a command that QEMU does not know: the one that was probably meant, or where they are listed', () => {
  assert.deepEqual(describeUnknownCommand('SIGHUP', 'sytem_reset', 'system_reset'), {
    fix: 'write system_reset',
    message: "--signal SIGHUP: QEMU has no monitor command 'sytem_reset': write system_reset",
  });
  assert.match(
    describeUnknownCommand('SIGHUP', 'frobnicate', null).fix,
    /^write a QMP command \(query-commands lists /,
  );
});
