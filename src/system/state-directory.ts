import { homedir } from 'node:os';
import { findStoreFault, type Fault } from './permissions.js';
import { join, resolve } from 'node:path';

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

/** The state directory, if there is one, and why nothing may be written there, or believed that lies there. */
export function checkStateDirectory(
  asked: string | null,
  env: NodeJS.ProcessEnv,
): { readonly path: string; readonly fault: Fault } | null {
  const path = stateDirectory(asked, env);
  const fault = path === null ? null : findStoreFault(path);
  return path === null || fault === null ? null : { path, fault };
}
