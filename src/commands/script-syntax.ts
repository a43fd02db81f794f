import { basename } from 'node:path';
import type { HookFile } from '../hook/find.js';
import { isDirectoryOfSteps, stepsIn } from '../hook/steps.js';
import { checkTrust } from '../hook/trust.js';
import { shellQuote } from '../system/permissions.js';
import { readHead } from '../system/small-file.js';
import { spawnSync } from '../system/spawn.js';

/*
 * Shell scripts that a shell would not run to their end, as that shell says (`sh -n`: it reads, and executes nothing).
 */

/** Shells that have `-n` (POSIX, sh). */
const shells: readonly string[] = ['sh', 'dash', 'bash', 'ksh', 'mksh'];
/** How long a shell may read, in milliseconds. */
const readsWithinMs = 5_000;
const headBytes = 256;

interface SyntaxError {
  readonly path: string;
  readonly what: string;
  readonly fix: string;
}

function shellOf(path: string): string | null {
  const interpreter = /^#![ \t]*(\/\S+)/.exec(readHead(path, headBytes)?.toString('latin1') ?? '')?.[1];
  return interpreter !== undefined && shells.includes(basename(interpreter)) ? interpreter : null;
}

function findSyntaxError(path: string, env: NodeJS.ProcessEnv): SyntaxError | null {
  const shell = shellOf(path);
  if (shell === null) return null;
  const { status, stderr } = spawnSync(shell, ['-n', path], {
    // A shell would execute what these name.
    env: { ...env, ENV: undefined, BASH_ENV: undefined },
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: readsWithinMs,
  });
  if (status === 0 || status === null) return null;
  const said = (stderr.split('\n').find((line) => line !== '') ?? '').replace(`${path}: `, '');
  return {
    path,
    what: `its syntax is wrong (${said})`,
    fix: `\${EDITOR:-vi} ${shellQuote(path)}`,
  };
}

/** Of the user's own hooks, and of those only that would be run. */
export function findSyntaxErrors(hooks: readonly HookFile[], env: NodeJS.ProcessEnv): SyntaxError[] {
  return hooks
    .filter(({ ours }) => !ours)
    .flatMap((hook) => (isDirectoryOfSteps(hook) ? stepsIn(hook).run : [hook]))
    .filter(({ path, ours }) => checkTrust(path, ours).trusted)
    .flatMap(({ path }) => findSyntaxError(path, env) ?? []);
}
