import { Socket } from 'node:net';
import { helperEnvironment } from '../system/own-environment.js';
import { spawn } from '../system/spawn.js';
import { type Stderr, fileStderr } from './file-stderr.js';
import { streamStderr } from './stream-stderr.js';
import { startTimer } from '../system/timer.js';

/** cat(1), in a session of its own, which the terminal does not stop, and deaf to what is meant for its neighbours. */
const pump = ['sh', '-c', "trap '' TERM INT HUP QUIT; exec cat"] as const;

/**
 * A terminal, or what cannot be opened anew: whatever blocks there blocks a child that writes to it, and never the event
 * loop. It is started with the first word.
 */
export function pumpedStderr(): Stderr {
  let started: { readonly stderr: Stderr; finish(ms: number): Promise<void> } | null = null;
  const start = (): NonNullable<typeof started> => {
    const [command, ...args] = pump;
    const child = spawn(command, args, { stdio: ['pipe', 2, 2], detached: true, env: helperEnvironment(process.env) });
    const gone = new Promise<void>((resolve) => void child.on('error', () => resolve()).on('exit', () => resolve()));
    child.unref();
    const { stdin } = child;
    if (!(stdin instanceof Socket)) return { stderr: fileStderr(2), finish: async () => undefined };
    stdin.unref();
    const finish = (ms: number): Promise<void> => {
      stdin.end();
      // It must not be the last thing that the event loop waits for, and not count.
      child.ref();
      // Held by a reader that does not read: it exits with us.
      const timer = startTimer(ms, () => child.kill('SIGKILL'));
      return gone.finally(() => timer.cancel());
    };
    return { stderr: streamStderr(stdin, () => undefined), finish };
  };
  return {
    write: (text, source) => (started ??= start()).stderr.write(text, source),
    isBusy: () => started?.stderr.isBusy() ?? false,
    drain: async (ms) => started?.finish(ms),
  };
}
