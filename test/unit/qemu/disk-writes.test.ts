import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readDiskWrites } from '../../../src/qemu/disk-writes.js';
import { MonitorClosed, QmpError } from '../../../src/qmp/messages.js';

const answering = (answer: unknown) => ({ execute: async (): Promise<unknown> => answer });

test('writes and flushes of all disks are summed, and what is no number is none', async () => {
  const disks = [
    { device: 'a', stats: { wr_operations: 3, flush_operations: 2, wr_bytes: 4096, rd_operations: 99 } },
    { device: '', stats: { wr_operations: 1, wr_bytes: 'many' } },
    { device: 'c' },
  ];
  assert.deepEqual(await readDiskWrites(answering(disks)), { operations: 6, bytes: 4096 });
  assert.deepEqual(await readDiskWrites(answering([])), { operations: 0, bytes: 0 });
});

test('a QEMU that does not say is no QEMU that writes; one that has gone has gone', async () => {
  assert.equal(await readDiskWrites(answering({})), null);
  const failing = (error: Error) => ({ execute: () => Promise.reject(error) });
  assert.equal(await readDiskWrites(failing(new QmpError('CommandNotFound', 'no'))), null);
  await assert.rejects(readDiskWrites(failing(new MonitorClosed())), MonitorClosed);
});
