import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { status } from '../../src/outcome/exit-status.js';
import { usage } from '../../src/options/help.js';
import { builtinRules } from '../../src/rules/builtin.js';
import { dispatchTable } from '../../src/dispatch/table.js';

/*
 * What the README says in tables is what the program has in tables.
 */

const readme = readFileSync('README.md', 'utf8');

/** The rows of the table whose first heading is `heading`, cells without their Markdown. */
function table(heading: string): string[][] {
  const lines = readme.split('\n');
  const start = lines.findIndex((line) => line.startsWith(`| ${heading} |`));
  assert.notEqual(start, -1, `a table with ${heading}`);
  const rows: string[][] = [];
  for (let i = start + 2; lines[i]?.startsWith('|'); i++) {
    rows.push(
      (lines[i] as string)
        .split(/(?<!\\)\|/)
        .slice(1, -1)
        .map((cell) => cell.trim().replaceAll('`', '').replaceAll('\\|', '|')),
    );
  }
  return rows;
}

test('the built-in rules', () => {
  const rows = table('signal').slice(0, -1);
  assert.deepEqual(
    rows,
    Object.entries(builtinRules).map(([signal, rule]) => [
      signal,
      rule.script ?? '',
      rule.monitorCommand ?? '',
      rule.defaultAction,
      rule.why,
    ]),
  );
});

test('every option of the help is in the table, and no other', () => {
  const inReadme = table('option').flatMap(([cell]) => (cell ?? '').match(/--[a-z-]+/g) ?? []);
  const inHelp = [...usage.matchAll(/^ {2}(--[a-z-]+)/gm)].map(([, option]) => option);
  assert.deepEqual(inReadme.sort(), inHelp.sort());
});

test('every event of the log, of --check and of --status is in the table, and no other', () => {
  const sources = (readdirSync('src', { recursive: true }) as string[])
    .filter((name) => name.endsWith('.ts'))
    .map((name) => readFileSync(`src/${name}`, 'utf8'))
    .join('\n');
  const inSource = new Set(
    [...sources.matchAll(/\bevent: '([a-z-]+)'[,;} |]/g)]
      .map(([, event]) => event as string)
      .filter((event) => event !== 'event'),
  );
  const inReadme = table('event').flatMap(([events]) => (events as string).split(', '));
  assert.deepEqual([...inReadme].sort(), [...inSource].sort());
  assert.equal(new Set(inReadme).size, inReadme.length);
});

test('the exit statuses', () => {
  const rows = table('status').map(([cell]) => cell);
  for (const code of Object.values(status))
    assert.ok(
      rows.some((cell) => cell?.includes(String(code))),
      String(code),
    );
});

test('the table of what a signal does', () => {
  const words = {
    begin: /begins a shutdown|quits at once/,
    run: /runs its chain/,
    coalesce: /coalesced/,
    'keep-first': /logged/,
    refuse: /refused/,
    force: /the default action now/,
    ignore: /ignored/,
  };
  const rows = table('going on');
  const phases = ['up', null, 'stopping', 'ending'] as const;
  phases.forEach((phase, i) => {
    if (phase === null) return;
    const [, ends, runsOn, force] = rows[i] as string[];
    assert.match(ends as string, words[dispatchTable[phase]['ends']]);
    assert.match(runsOn as string, words[dispatchTable[phase]['runs-on']]);
    assert.match(force as string, words[dispatchTable[phase]['force']]);
  });
  assert.equal(dispatchTable['same-running']['runs-on'], 'coalesce');
  assert.equal(dispatchTable['same-stopping']['ends'], 'coalesce');
});
