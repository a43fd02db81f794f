import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { status } from '../../src/outcome/exit-status.js';
import { usage } from '../../src/options/help.js';
import { builtinRules } from '../../src/rules/builtin.js';
import { dispatchTable } from '../../src/dispatch/table.js';

/*
 * What docs/ says in tables is what the program has in tables.
 */

/** The rows of the table of a page whose first heading is `heading`, cells without their Markdown. */
function table(page: string, heading: string): string[][] {
  const lines = readFileSync(`docs/${page}.md`, 'utf8').split('\n');
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
  const rows = table('signals', 'signal').slice(0, -1);
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
  const inDocs = table('options', 'option').flatMap(([cell]) => (cell ?? '').match(/--[a-z-]+/g) ?? []);
  const inHelp = [...usage.matchAll(/^ {2}(--[a-z-]+)/gm)].map(([, option]) => option);
  assert.deepEqual(inDocs.sort(), inHelp.sort());
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
  const inDocs = table('status-and-log', 'event').flatMap(([events]) => (events as string).split(', '));
  assert.deepEqual([...inDocs].sort(), [...inSource].sort());
  assert.equal(new Set(inDocs).size, inDocs.length);
});

test('the exit statuses', () => {
  const rows = table('exit-status', 'status').map(([cell]) => cell);
  for (const code of Object.values(status))
    assert.ok(
      rows.some((cell) => cell?.includes(String(code))),
      String(code),
    );
});

test('the table of what a signal does', () => {
  const words = {
    begin: /begins a shutdown|the default action now/,
    run: /runs its chain/,
    coalesce: /coalesced/,
    'keep-first': /logged/,
    refuse: /refused/,
    force: /the default action now/,
    ignore: /ignored/,
  };
  const rows = table('signals', 'in progress');
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

/** Every name that `pattern` finds in the source. */
function namesInSource(pattern: RegExp): string[] {
  const files = [
    ...(readdirSync('src', { recursive: true }) as string[])
      .filter((name) => name.endsWith('.ts'))
      .map((name) => `src/${name}`),
    ...readdirSync('hooks')
      .filter((name) => name !== 'lib')
      .map((name) => `hooks/${name}`),
  ];
  return [
    ...new Set(
      files.flatMap((file) => [...readFileSync(file, 'utf8').matchAll(pattern)].map(([, name]) => name ?? '')),
    ),
  ];
}

test('every environment variable of the source is in a table, and no other', () => {
  const inSource = namesInSource(/\b(QEMU_TRAP_[A-Z_]+)\b/g);
  const inDocs = [
    ...table('options', 'variable'),
    ...table('hooks', 'variable'),
    ...table('lifecycle-hooks', 'variable of `end`'),
  ].flatMap(([cell = '']) => cell.match(/QEMU_TRAP_[A-Z_]+/g) ?? []);
  assert.deepEqual([...new Set(inDocs)].sort(), inSource.sort());
});

test('every kind of end is in a table, and no other', () => {
  const inDocs = table('lifecycle-hooks', 'value of `QEMU_TRAP_END`').flatMap(([cell = '']) => cell.split(', '));
  const type = /export type EndKind =([^;]*);/.exec(readFileSync('src/outcome/ending.ts', 'utf8'))?.[1] ?? '';
  const inSource = [...type.matchAll(/'([a-z-]+)'/g)].map(([, kind]) => kind);
  assert.deepEqual(inDocs.sort(), inSource.sort());
});

test('every bundled hook is in a table, and no other', () => {
  const inDocs = table('hooks', 'bundled hook').flatMap(([cell = '']) => cell.split(', '));
  assert.deepEqual(
    inDocs.sort(),
    readdirSync('hooks')
      .filter((name) => name !== 'lib')
      .sort(),
  );
});

test('every metric is in a table, and no other', () => {
  const inDocs = table('status-and-log', 'metric').map(([cell = '']) => cell.replace(/\{.*/, ''));
  assert.deepEqual(inDocs.sort(), namesInSource(/\b(qemu_trap_[a-z_]+)\b/g).sort());
});

test('every hook of the gallery is in its table, and no other', () => {
  const inTable = [...readFileSync('examples/hooks/README.md', 'utf8').matchAll(/^\| \[([a-z]+)\]/gm)].map(
    ([, name]) => name,
  );
  assert.deepEqual(
    inTable.sort(),
    readdirSync('examples/hooks')
      .filter((name) => name !== 'README.md')
      .sort(),
  );
});
