import { existsSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { findStoreFault, type Fault } from './permissions.js';
import { dirname, join, resolve } from 'node:path';
import { createParents } from './make-directories.js';

/**
 * Where what outlives a run of a VM is kept.
 * @param asked by `--state-dir`
 * @returns `null` for a user without a home
 */
export function stateDirectory(asked: string | null, env: NodeJS.ProcessEnv): string | null {
  if (asked !== null) return resolve(asked);
  if (process.geteuid?.() === 0) return '/var/lib/qemu-trap';
  const state = env['XDG_STATE_HOME'];
  if (state?.startsWith('/')) return join(state, 'qemu-trap');
  try {
    return join(homedir(), '.local/state/qemu-trap');
  } catch {
    return null;
  }
}

/**
 * Creates a directory in one where others may create theirs (/tmp, say), so that it is ours from now on. Anywhere else
 * it is made when it is needed.
 * @returns whether it was tried, and others may have been first
 */
function claim(path: string): boolean {
  try {
    if (existsSync(path)) return false;
    let above = dirname(path);
    while (!existsSync(above)) above = dirname(above);
    if ((statSync(above).mode & 0o022) === 0) return false;
    createParents(join(path, 'any'), 0o700);
  } catch {
    // It cannot be made: then nothing is kept there.
  }
  return true;
}

/** The state directory, if there is one, and why nothing may be written there, or believed that lies there. */
export function checkStateDirectory(
  asked: string | null,
  env: NodeJS.ProcessEnv,
): { readonly path: string; readonly fault: Fault } | null {
  const path = stateDirectory(asked, env);
  if (path === null) return null;
  let fault = findStoreFault(path);
  if (fault === null && claim(path)) fault = findStoreFault(path);
  return fault === null ? null : { path, fault };
}
