import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';

/*
 * The order of the folders of src (docs/architecture.md): each imports only from those before it, and from itself.
 */

const order = [
  ...['system', 'signals', 'qmp', 'log', 'outcome', 'run-dir', 'hook', 'qemu', 'guest-agent', 'rules', 'dispatch'],
  ...['status', 'service-manager', 'options', 'vm', 'drop-in', 'commands', 'main.ts', 'cli.ts'],
];

/** Each is imported by one file. */
const packages = ['cross-spawn', 'minimist', 'signal-exit', 'tree-kill'];

type Sources = ReadonlyMap<string, string>;

function importsOf(path: string, source: string): string[] {
  const specifiers = [...source.matchAll(/\b(?:from|import)\s*\(?\s*'(\.[^']+)'/g)].map(([, specifier]) => specifier);
  return specifiers.map((specifier) => join(dirname(path), String(specifier)).replace(/\.js$/, '.ts'));
}

function placeOf(path: string): number {
  return order.indexOf(path.split('/')[0] as string);
}

function circlesIn(sources: Sources): string[] {
  const done = new Set<string>();
  const visit = (path: string, way: readonly string[]): string[] => {
    if (way.includes(path)) return [`a circle: ${[...way.slice(way.indexOf(path)), path].join(' ')}`];
    if (done.has(path)) return [];
    const found = importsOf(path, sources.get(path) ?? '').flatMap((next) => visit(next, [...way, path]));
    done.add(path);
    return found;
  };
  return [...sources.keys()].flatMap((path) => visit(path, []));
}

function faultsIn(sources: Sources): string[] {
  const faults = circlesIn(sources);
  for (const [path, source] of sources) {
    if (placeOf(path) === -1) faults.push(`${path}: in none of the folders`);
    for (const imported of importsOf(path, source)) {
      if (imported !== '../package.json' && placeOf(imported) > placeOf(path))
        faults.push(`${path} imports ${imported}`);
    }
    if (/^(dispatch|outcome)\//.test(path) && source.includes("'node:"))
      faults.push(`${path} is pure, and imports Node`);
    if (/\bprocess\.exit\(/.test(source) && path !== 'main.ts') faults.push(`${path} calls process.exit`);
    if (/\bset(Timeout|Interval)\(/.test(source) && path !== 'system/timer.ts')
      faults.push(`${path} waits by a timer of its own`);
  }
  for (const name of packages) {
    const importers = [...sources].filter(([, source]) => source.includes(`from '${name}'`)).map(([path]) => path);
    if (importers.length > 1) faults.push(`${name} is imported by ${importers.join(' and ')}`);
  }
  return faults;
}

const sources: Sources = new Map(
  (readdirSync('src', { recursive: true }) as string[])
    .filter((path) => path.endsWith('.ts'))
    .map((path) => [path, readFileSync(`src/${path}`, 'utf8')]),
);

test('each folder of src imports only from those before it, and no file from one that imports it', () => {
  assert.deepEqual(faultsIn(sources), []);
});

test('negative control: whatever breaks the order is seen', () => {
  const broken: Sources = new Map([
    ['system/a.ts', "import type { Rule } from '../rules/rule.js';"],
    ['qmp/b.ts', "export * from '../log/log.js';"],
    ['log/c.ts', "export const later = (): unknown => import('../vm/vm.js');"],
    ['outcome/d.ts', "import { readFileSync } from 'node:fs';"],
    ['hook/e.ts', "import spawn from 'cross-spawn';\nprocess.exit(1);"],
    ['hook/h.ts', "import spawn from 'cross-spawn';"],
    ['qemu/f.ts', "import './g.js';"],
    ['qemu/g.ts', "import {\n  f,\n} from './f.js';"],
    ['hook/i.ts', 'setTimeout(() => undefined, Infinity);'],
    ['loose.ts', ''],
  ]);
  assert.deepEqual(
    faultsIn(broken).map((fault) => fault.split(' ')[0]),
    ['a', 'system/a.ts', 'qmp/b.ts', 'log/c.ts', 'outcome/d.ts', 'hook/e.ts', 'hook/i.ts', 'loose.ts:', 'cross-spawn'],
  );
});
