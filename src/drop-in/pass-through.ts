import { findHelpers } from '../qemu/helpers.js';
import { onTrapped } from '../signals/trap.js';
import { inheritedDescriptors, type Stdio } from '../system/descriptors.js';
import { spawnQemu } from '../system/spawn.js';

/** These are the terminal's with a whole group of processes, and stop this one with its QEMU. */
const stopping = ['SIGTSTP', 'SIGTTIN', 'SIGTTOU'] as const;

/**
 * Runs QEMU as if it had been called itself: with its descriptors, its signals, and its exit status.
 * @returns its exit status; if a signal ended it, the same one ends this process
 * @throws NodeJS.ErrnoException if it cannot be started
 */
export function passThrough(qemu: string, words: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  const inherited = inheritedDescriptors();
  const stdio: Stdio[] = ['inherit', 'inherit', 'inherit'];
  for (let fd = 3; fd <= Math.max(0, ...inherited); fd++) stdio.push(inherited.includes(fd) ? fd : 'ignore');
  // Killed as QEMU, it is to be gone as QEMU.
  const { setpriv } = findHelpers(env);
  const [command = '', ...args] = [...(setpriv === null ? [] : [setpriv, '--pdeathsig', 'KILL']), qemu, ...words];
  for (const signal of stopping) process.removeAllListeners(signal);
  return new Promise((resolve, reject) => {
    const child = spawnQemu(command, args, { stdio, env }, []);
    child.on('error', reject);
    onTrapped(({ signal }) => void child.kill(signal));
    child.on('exit', (code, signal) => {
      if (signal === null) return resolve(code ?? 0);
      process.removeAllListeners(signal);
      process.kill(process.pid, signal);
    });
  });
}
