import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { test, type TestContext } from 'node:test';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import * as core from './core.js';
import { type Core, explore } from './explorer.js';
import { powerdown, ruleOf, signal, up } from './play.js';

/** How many inputs a sequence has at most. */
const depth = Number(process.env['QEMU_TRAP_TEST_DEPTH'] ?? 8);
const limits = { killAfterMs: 5_000, pressGaps: [2_000], keepsGaps: false, busyTimeoutMs: null };

const stop = ruleOf('SIGTERM', ['hook', 'command', 'power-button'], 8, 'quit');
const beside = ruleOf('SIGHUP', ['hook', 'command'], 6, 'none');
const now = ruleOf('SIGQUIT', [], 0, 'quit');

test('every stage, a signal beside it, and one that forces: every sequence from the start on', (t) => {
  const { states, transitions, byDepth } = explore(core, { rules: [stop, beside, now], limits, depth });
  t.diagnostic(`${states} states, ${transitions} transitions; new ones by depth: ${byDepth.join(', ')}`);
  assert.equal(byDepth.length, depth + 1);
});

test('Ctrl-C, a rule that kills, a press that leaves the guest running: every sequence of a guest that runs', (t) => {
  const rules = [
    ruleOf('SIGINT', ['power-button'], 8, 'kill'),
    ruleOf('SIGTERM', ['hook', 'power-button'], 4, 'quit'),
    ruleOf('SIGUSR1', ['power-button'], 6, 'none'),
  ];
  const { states, transitions } = explore(core, {
    rules,
    limits: { ...limits, pressGaps: [] },
    depth: depth - 3,
    first: [up()],
  });
  t.diagnostic(`${states} states, ${transitions} transitions`);
});

test('no button (monitorcommand=none), and one that is pressed in the middle of a shutdown', (t) => {
  const bare = ruleOf('SIGTERM', ['hook'], 8, 'quit');
  const rules = [bare, now, ruleOf('SIGINT', ['command', 'power-button'], 8, 'quit')];
  const { states, transitions } = explore(core, { rules, limits, depth: depth - 3, first: [up(), signal(bare)] });
  t.diagnostic(`${states} states, ${transitions} transitions`);
});

test('infinity, of a shutdown and of a signal beside it: every sequence of a guest that runs', (t) => {
  const rules = [
    ruleOf('SIGTERM', ['hook', 'command', 'power-button'], Infinity, 'quit'),
    ruleOf('SIGHUP', ['hook', 'command'], Infinity, 'none'),
    now,
  ];
  const { states, transitions } = explore(core, { rules, limits, depth: depth - 3, first: [up()] });
  t.diagnostic(`${states} states, ${transitions} transitions`);
});

test('infinity, without a button: every sequence of a shutdown', (t) => {
  const bare = ruleOf('SIGTERM', ['hook'], Infinity, 'quit');
  const { states, transitions } = explore(core, {
    rules: [bare, now],
    limits,
    depth: depth - 3,
    first: [up(), signal(bare)],
  });
  t.diagnostic(`${states} states, ${transitions} transitions`);
});

const short = ruleOf('SIGTERM', ['hook', 'power-button'], 2, 'quit');
const busy = {
  rules: [short],
  limits: { ...limits, busyTimeoutMs: 20_000 },
  first: [up(), signal(short)],
};

test('a guest whose disks may be written past its deadline: every sequence of a shutdown', (t) => {
  const { states, transitions } = explore(core, { ...busy, depth: depth - 2 });
  t.diagnostic(`${states} states, ${transitions} transitions`);
});

const readable = {
  rules: [stop],
  limits,
  first: [up(), signal(stop)],
  shown: ['deaf', 'clear', 'pending', 'no answer'],
};

test('a button that can be read: every sequence of a shutdown', (t) => {
  const { states, transitions } = explore(core, { ...readable, depth: depth - 2 });
  t.diagnostic(`${states} states, ${transitions} transitions`);
});

/** The core with one text of it changed. */
async function mutant(t: TestContext, file: string, from: string, to: string): Promise<Core> {
  const directory = mkdtempSync(join(tmpdir(), 'qemu-trap-mutant-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const outfile = join(directory, 'core.mjs');
  await build({
    entryPoints: [resolve('test/unit/dispatch/core.ts')],
    bundle: true,
    format: 'esm',
    platform: 'node',
    outfile,
    plugins: [
      {
        name: 'mutant',
        setup: ({ onLoad }) =>
          onLoad({ filter: /src\/dispatch\/.*\.ts$/ }, ({ path }) => {
            const text = readFileSync(path, 'utf8');
            if (basename(path) !== file) return { contents: text, loader: 'ts' };
            assert.equal(text.split(from).length, 2, `${file} has '${from}' once`);
            return { contents: text.replace(from, to), loader: 'ts' };
          }),
      },
    ],
  });
  return (await import(pathToFileURL(outfile).href)) as Core;
}

for (const [what, file, from, to, found] of [
  [
    'a hook that hangs keeps the button',
    'chain.ts',
    'if (!isButtonAhead(shutdown)) return;',
    "if (shutdown.at === 'hook') return;",
    /had its turn/,
  ],
  ['a signal that comes again runs again', 'table.ts', "'runs-on': 'coalesce'", "'runs-on': 'run'", /never two hooks/],
  [
    'a QEMU that exits is spoken to',
    'default-action.ts',
    'state.termination ??=',
    'void',
    /nothing is said|it always ends/,
  ],
  [
    '"not now" after a press',
    'chain.ts',
    'shutdown.presses > 0) {\n        // The press',
    'false) {\n        // The press',
    /is not called off/,
  ],
  [
    'a guest that listens at last is not pressed',
    'power-button.ts',
    'state.listensSince = s.now;',
    'return;',
    /pressed as soon as it listens/,
  ],
  [
    'a press is repeated before it is taken',
    'power-button.ts',
    '!isUselessToPress(',
    'true || (',
    /not repeated before/,
  ],
  [
    'a reading begins while a press is due',
    'power-button.ts',
    '|| s.now >= shutdown.nextPressAt',
    '',
    /a press is due/,
  ],
  [
    'a guest that writes no more has more time',
    'busy-disks.ts',
    ' || !isBusy(disks, s.now)',
    '',
    /has no more time|moves the next one on/,
  ],
  [
    'the time of a guest that writes is never over',
    'busy-disks.ts',
    's.now >= busyUntil ||',
    '',
    /moves the next one on|no more time/,
  ],
  [
    'a guest that writes is forced all the same',
    'busy-disks.ts',
    'return true;\n  shutdown',
    'return false;\n  shutdown',
    /still writes/,
  ],
] as const) {
  test(`negative control: ${what} is found`, async (t) => {
    const changed = await mutant(t, file, from, to);
    const all =
      file === 'power-button.ts'
        ? { ...readable, first: [...readable.first, powerdown], depth: 6 }
        : file === 'busy-disks.ts'
          ? { ...busy, depth: 6 }
          : { rules: [stop, beside, now], limits, depth: 5 };
    assert.throws(() => explore(changed, all), found);
  });
}
