import { Duplex } from 'node:stream';
import { QmpClient } from '../qmp/client.js';
import { MonitorClosed } from '../qmp/messages.js';
import { spawn } from '../system/spawn.js';
import { isQemu } from './wrappers.js';
import { startTimer } from '../system/timer.js';

/** How long a QEMU that is only asked has, in milliseconds. */
const answersWithinMs = 10_000;

/**
 * Starts a QEMU without a machine, and with nothing of the user's own, to ask it something. What has not the name of a
 * QEMU is not started: a script that ignores its words would start its VM.
 * @returns `null` if it cannot be had, or does not answer in time
 */
export async function askQemu<T>(command: string, ask: (client: QmpClient) => Promise<T>): Promise<T | null> {
  if (!isQemu(command)) return null;
  const child = spawn(command, ['-machine', 'none', '-display', 'none', '-nodefaults', '-qmp', 'stdio'], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  child.on('error', () => undefined);
  if (child.pid === undefined || child.stdout === null || child.stdin === null) return null;
  const timer = startTimer(answersWithinMs, () => child.kill('SIGKILL'));
  try {
    const client = new QmpClient(Duplex.from({ readable: child.stdout, writable: child.stdin }), {
      onEvent: () => undefined,
      onClose: () => undefined,
    });
    await client.ready;
    return await ask(client);
  } catch (error) {
    if (error instanceof MonitorClosed) return null;
    throw error;
  } finally {
    timer.cancel();
    child.kill('SIGKILL');
  }
}
