import { basename, dirname } from 'node:path';
import type { HookFile } from '../hook/find.js';
import { interpreterOf } from '../hook/interpreter.js';
import { isDirectoryOfSteps, stepsIn } from '../hook/steps.js';
import { checkTrust } from '../hook/trust.js';
import { spawnSync } from '../system/spawn.js';

/*
 * What a shell says of a script without running it (`sh -n` reads, and executes nothing: POSIX, sh). It is a hint and no
 * fault: a script may end before the line, or set an option that makes it right.
 */

/** Shells that have `-n`. */
const shells: readonly string[] = ['sh', 'dash', 'bash', 'ksh', 'mksh'];
/** Of other places it is not known what would be run. */
const directories: readonly string[] = ['/bin', '/usr/bin', '/usr/local/bin'];
/** How long a shell may read, in milliseconds. */
const readsWithinMs = 2_000;

interface SyntaxHint {
  readonly path: string;
  readonly what: string;
}

function findHint(path: string, searchPath: string, env: NodeJS.ProcessEnv): SyntaxHint | null {
  const shell = interpreterOf(path, searchPath);
  if (shell === null || !shells.includes(basename(shell)) || !directories.includes(dirname(shell))) return null;
  const extended = basename(shell) === 'bash' ? ['-O', 'extglob'] : [];
  const { status, stderr } = spawnSync(shell, [...extended, '-n', path], {
    // A shell would execute what these name.
    env: { ...env, ENV: undefined, BASH_ENV: undefined },
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: readsWithinMs,
    killSignal: 'SIGKILL',
  });
  if (status === 0 || status === null) return null;
  const said = (stderr.split('\n').find((line) => line !== '') ?? '').replace(`${path}: `, '');
  return { path, what: `${basename(shell)} -n says: ${said}` };
}

/**
 * Of the user's own hooks, and of those only that would be run.
 * @param searchPath the hooks' own
 */
export function findSyntaxHints(
  hooks: readonly HookFile[],
  searchPath: string,
  env: NodeJS.ProcessEnv,
): readonly SyntaxHint[] {
  return hooks
    .filter(({ ours }) => !ours)
    .flatMap((hook) => (isDirectoryOfSteps(hook) ? stepsIn(hook).run : [hook]))
    .filter(({ path, ours }) => checkTrust(path, ours).trusted)
    .flatMap(({ path }) => findHint(path, searchPath, env) ?? []);
}
