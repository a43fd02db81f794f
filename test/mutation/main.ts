import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { build } from 'esbuild';
import { type Mutant, mutantsOf } from './mutants.js';

/*
 * npm run test:mutation [-- PART|SOURCE...]: changes the pure parts one token or statement at a time, and runs their
 * unit tests on each. A mutant that no test finds is a missing test, or needless code.
 */

interface Part {
  readonly sources: readonly string[];
  readonly tests: readonly string[];
}

const filesIn = (directory: string, ending: string): string[] =>
  readdirSync(directory)
    .filter((name) => name.endsWith(ending))
    .map((name) => join(directory, name));

const parts: Readonly<Record<string, Part>> = {
  dispatch: { sources: filesIn('src/dispatch', '.ts'), tests: filesIn('test/unit/dispatch', '.test.ts') },
  outcome: { sources: filesIn('src/outcome', '.ts'), tests: filesIn('test/unit/outcome', '.test.ts') },
  rules: {
    sources: ['resolve', 'rule', 'spec', 'builtin'].map((name) => `src/rules/${name}.ts`),
    tests: filesIn('test/unit/rules', '.test.ts'),
  },
  trust: { sources: ['src/hook/trust.ts'], tests: filesIn('test/unit/hook', '.test.ts') },
  argv: { sources: ['src/qemu/argv.ts'], tests: filesIn('test/unit/qemu', '.test.ts') },
  registers: { sources: ['src/qemu/acpi-registers.ts'], tests: ['test/unit/qemu/acpi-registers.test.ts'] },
};

/** A part, or one source of a part. */
function partNamed(name: string): Part | undefined {
  const whole = Object.values(parts).find(({ sources }) => sources.includes(name));
  return parts[name] ?? (whole && { ...whole, sources: [name] });
}

/** A mutant that makes a loop endless is found by this. */
const withinMs = 120_000;
const atOnce = 2;

function passes(test: string): Promise<boolean> {
  return new Promise((settle) => {
    const child = spawn(process.execPath, [test], {
      stdio: 'ignore',
      env: { ...process.env, QEMU_TRAP_TEST_DEPTH: '5' },
    });
    const timer = setTimeout(() => child.kill('SIGKILL'), withinMs);
    child.on('exit', (code) => {
      clearTimeout(timer);
      settle(code === 0);
    });
  });
}

/** @returns whether the tests fail on it, or `null` if it is no program. They lie in the project, where packages are found. */
async function isFound(source: string, { text }: Mutant, tests: readonly string[]): Promise<boolean | null> {
  const directory = mkdtempSync(resolve('build/mutation/run-'));
  try {
    const isProgram = await build({
      logLevel: 'silent',
      entryPoints: tests.map((test) => resolve(test)),
      bundle: true,
      format: 'esm',
      platform: 'node',
      packages: 'external',
      outdir: directory,
      outExtension: { '.js': '.mjs' },
      plugins: [
        {
          name: 'mutant',
          setup: ({ onLoad }) =>
            onLoad({ filter: /\.ts$/ }, ({ path }) =>
              path === resolve(source) ? { contents: text, loader: 'ts' } : undefined,
            ),
        },
      ],
    }).then(
      () => true,
      () => false,
    );
    if (!isProgram) return null;
    for (const test of filesIn(directory, '.mjs').sort()) if (!(await passes(test))) return true;
    return false;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

for (const name of process.argv.slice(2).length > 0 ? process.argv.slice(2) : Object.keys(parts)) {
  const part = partNamed(name);
  if (part === undefined) throw new Error(`no part '${name}': write one of ${Object.keys(parts).join(', ')}`);
  const all = part.sources.flatMap((source) =>
    mutantsOf(readFileSync(source, 'utf8')).map((mutant) => ({ source, mutant })),
  );
  let found = 0;
  let tried = 0;
  const waiting = all.values();
  const work = async (): Promise<void> => {
    for (const { source, mutant } of waiting) {
      const was = await isFound(source, mutant, part.tests);
      if (was !== null) tried++;
      if (was === true) found++;
      else if (was === false) console.log(`${source}:${mutant.line}: '${mutant.from}' -> '${mutant.to}' is not found`);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  console.log(`${name}: ${found} of ${tried} mutants are found`);
}
