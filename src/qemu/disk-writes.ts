import type { DiskWrites } from '../outcome/disk-activity.js';
import type { QmpClient } from '../qmp/client.js';
import { QmpError } from '../qmp/messages.js';

/** BlockDeviceStats of qapi/block-core.json. */
interface BlockStats {
  readonly stats?: Readonly<Record<string, unknown>>;
}

function numberOf(stats: BlockStats['stats'], name: string): number {
  const value = stats?.[name];
  return typeof value === 'number' ? value : 0;
}

/**
 * What QEMU has written and flushed on the guest's behalf. Disks that another process serves (vhost-user, vfio) are not
 * among them.
 * @returns `null` if QEMU does not say
 * @throws {MonitorClosed}
 */
export async function readDiskWrites(client: Pick<QmpClient, 'execute'>): Promise<DiskWrites | null> {
  let answer: unknown;
  try {
    answer = await client.execute('query-blockstats');
  } catch (error) {
    if (error instanceof QmpError) return null;
    throw error;
  }
  if (!Array.isArray(answer)) return null;
  const all = (answer as readonly BlockStats[]).map(({ stats }) => stats);
  const sum = (name: string): number => all.reduce((total, stats) => total + numberOf(stats, name), 0);
  return { operations: sum('wr_operations') + sum('flush_operations'), bytes: sum('wr_bytes') };
}
