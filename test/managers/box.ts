import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { test } from 'node:test';

/*
 * A test file of service managers runs itself once more, inside a box (box.sh): a machine of its own with the real
 * managers in it, where nothing that they do reaches the host. What it reports there reaches the runner as it is.
 */

const insideVariable = 'QEMU_TRAP_TEST_BOX';
const managers = '.cache/managers';
/** Everything in a box together; a box that takes longer is ended whole. */
const longestSeconds = 600;

/** Why tests that need a box are to be skipped, or `false`. */
export function whyNoBox(): string | false {
  if (process.getuid?.() !== 0) return 'a box needs root';
  if (!existsSync(`${managers}/made`)) return 'no service managers here: test/managers/fetch.sh needs apt-get';
  const { status, stderr } = runBox('tini', ['true']);
  return status === 0 ? false : `no box can be made here: ${stderr.trim()}`;
}

export type Init = 'tini' | 'systemd';

/** Runs a command in a box of its own. */
export function runBox(
  init: Init,
  command: readonly string[],
  env: NodeJS.ProcessEnv = {},
): { status: number | null; stdout: string; stderr: string } {
  return spawnSync('bash', ['test/managers/box.sh', init, `${managers}/root`, ...command], {
    encoding: 'utf8',
    env: { ...process.env, BOX_SECONDS: String(longestSeconds), ...env },
  });
}

/** True inside a box that runs `part` of this test file. */
export function isInside(part: string): boolean {
  return process.env[insideVariable] === part;
}

/** Where `part` of this test file runs: the arguments for {@link runBox}. */
export function insideAgain(part: string): { command: string[]; env: NodeJS.ProcessEnv } {
  return { command: [process.execPath, process.argv[1] as string], env: { [insideVariable]: part } };
}

/**
 * Runs the tests that `define` defines, inside a box.
 * @param what names the tests where there is no box, and they are skipped
 */
export function boxed(init: Init, what: string, define: () => void): void {
  if (isInside('tests')) return define();
  if (process.env[insideVariable] !== undefined) return;
  const skip = whyNoBox();
  if (skip !== false) {
    test(what, { skip }, () => undefined);
    return;
  }
  const { command, env } = insideAgain('tests');
  const { status } = spawnSync('bash', ['test/managers/box.sh', init, `${managers}/root`, ...command], {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, BOX_SECONDS: String(longestSeconds), ...env },
  });
  process.exitCode = status ?? 1;
}
