import { isStopped } from './processes.js';

export function killQuietly(pid: number): void {
  sendQuietly(pid, 'SIGKILL');
}

/** The process must be known to be the one that is meant. */
export function wakeStopped(pid: number): boolean {
  return isStopped(pid) && sendQuietly(pid, 'SIGCONT');
}

/** @returns false if it has exited just now, or is not for us to signal */
export function sendQuietly(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    // It has exited just now, or is another user's: then the wait for it ends as it does for one that is stuck.
    return false;
  }
}
