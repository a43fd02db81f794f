import { readFileSync } from 'node:fs';
import { exists, readProcess } from './processes.js';

/** A process and its start time, so that a pid used anew is not taken for the old one. */
export function identify(pid: number): string | null {
  const process = readProcess(pid);
  return process === null ? null : `${pid} ${process.startTime}`;
}

/**
 * What {@link identify} said of a process, from the file where it was kept; `''` if there is none.
 * @throws NodeJS.ErrnoException if it cannot be read
 */
export function readIdentity(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}

/** Whether that very process lives; if /proc cannot be read, whether any does by its pid. */
export function isIdentityAlive(identity: string): boolean {
  if (identity === '') return false;
  try {
    return identify(pidOf(identity)) === identity;
  } catch {
    return exists(pidOf(identity));
  }
}

/** What version 0.1.0 wrote into `qemu.pid`, which has a pid alone since; `''` if it is that. */
export function oldIdentity(text: string): string {
  return /^\d+ \d+$/.test(text) ? text : '';
}

export function pidOf(identity: string): number {
  return Number(identity.split(' ')[0]);
}
