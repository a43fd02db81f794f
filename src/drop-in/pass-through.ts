import { findHelpers } from '../qemu/helpers.js';
import { withTaken } from '../qemu/real-qemu.js';
import { onTrapped, untrap } from '../signals/trap.js';
import { signalNumber } from '../signals/names.js';
import { inheritedDescriptors, type Stdio } from '../system/descriptors.js';
import { spawnQemu } from '../system/spawn.js';

/** These are the terminal's with a whole group of processes, and stop this one with its QEMU. */
const stopping = ['SIGTTIN', 'SIGTTOU'] as const;

/**
 * Runs QEMU as if it had been called itself: with its descriptors, its signals, and its exit status.
 * @returns its exit status; if a signal killed it, the same one ends this process
 * @throws NodeJS.ErrnoException if it cannot be started
 */
export function passThrough(qemu: string, words: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  const inherited = inheritedDescriptors();
  const stdio: Stdio[] = ['inherit', 'inherit', 'inherit'];
  for (let fd = 3; fd <= Math.max(0, ...inherited); fd++) stdio.push(inherited.includes(fd) ? fd : 'ignore');
  for (const signal of stopping) process.removeAllListeners(signal);
  const start = ([command = '', ...args]: readonly string[]): Promise<number> =>
    new Promise((resolve, reject) => {
      const child = spawnQemu(command, args, { stdio, env: withTaken(qemu, env) }, []);
      child.on('error', reject);
      onTrapped(({ signal }) => {
        child.kill(signal);
        if (signal === 'SIGTSTP') process.kill(process.pid, 'SIGSTOP');
      });
      child.on('exit', (code, signal) => {
        if (signal === null) return resolve(code ?? 0);
        untrap();
        process.kill(process.pid, signal);
        // One that ends nothing by default.
        resolve(128 + signalNumber(signal));
      });
    });
  // Killed as QEMU, it is to be gone as QEMU.
  const { setpriv } = findHelpers(env);
  const call = [qemu, ...words];
  if (setpriv === null) return start(call);
  return start([setpriv, '--pdeathsig', 'KILL', ...call]).catch(() => start(call));
}
