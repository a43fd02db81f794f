import { until, withLab } from '../test/support/lab.js';
import { Linux, says } from '../test/support/linux.js';
import { shuffled } from './measures.js';
import { Samples, type Table } from './table.js';

/** How a guest that is still booting is pressed: when it listens, or as scripts in containers press it. */
const ways: Readonly<Record<string, readonly string[]>> = {
  'when it listens (no --press)': [],
  'every second (--press 1)': ['--press', '1'],
  'every 10 s (--press 10)': ['--press', '10'],
};

/**
 * Boots a Linux, and stops it.
 * @param afterMs from the start of QEMU to SIGTERM, in milliseconds; `null`: when the guest is up
 * @returns how long it took to be up if that was waited for, and from SIGTERM to the exit of qemu-trap, in seconds
 */
async function stopAt(afterMs: number | null, options: readonly string[]): Promise<{ upMs: number; stopS: number }> {
  return withLab(async (lab) => {
    const linux = new Linux(lab);
    const inProcess = ['--signal', 'TERM,monitorcommand=system_powerdown'];
    const trap = lab.start({ command: linux.command({ words: ['idle'] }), options: [...inProcess, ...options] });
    await trap.event('start');
    const startedAt = performance.now();
    if (afterMs === null) await until('the guest is up', () => linux.said(says.up) > 0);
    else await new Promise((resolve) => setTimeout(resolve, afterMs));
    const toldAt = performance.now();
    trap.kill('SIGTERM');
    const status = await trap.status();
    if (status !== 0) throw new Error(`a guest was cut off, status ${status}:\n${trap.stderr}`);
    return { upMs: toldAt - startedAt, stopS: (performance.now() - toldAt) / 1_000 };
  });
}

/** SIGTERM at a random moment of a real boot, the same for each way to press. */
export async function boot(rounds: number): Promise<Table> {
  const { upMs } = await stopAt(null, []);
  const samples = new Samples(...Object.keys(ways));
  for (let round = 0; round < rounds; round++) {
    const afterMs = Math.random() * upMs;
    for (const [name, options] of shuffled(Object.entries(ways)))
      samples.add(name, (await stopAt(afterMs, options)).stopS);
  }
  return {
    title: 'SIGTERM at a random moment of a boot, to the exit',
    unit: 's',
    rows: samples.rows,
    note: `the guest is up after ${(upMs / 1_000).toFixed(1)} s`,
  };
}
