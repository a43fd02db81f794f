import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  describeWriting,
  isBusy,
  noDiskActivity,
  withLostTime,
  withWrites,
} from '../../../src/outcome/disk-activity.js';

test('disks are busy for 15 s after a reading that has more than the one before it', () => {
  assert.ok(!isBusy(noDiskActivity, 0));
  const first = withWrites(noDiskActivity, { operations: 50, bytes: 1e6 }, 1_000);
  assert.ok(!isBusy(first, 1_000), 'what was written before the first reading says nothing');
  const second = withWrites(first, { operations: 51, bytes: 4e6 }, 3_000);
  assert.equal(second.bytesPerSecond, 1.5e6);
  assert.ok(isBusy(second, 17_999));
  assert.ok(!isBusy(second, 18_000));
  const third = withWrites(second, { operations: 51, bytes: 4e6 }, 4_000);
  assert.equal(third.bytesPerSecond, 0);
  assert.ok(isBusy(third, 17_999), 'a pause does not end it');
  const flushed = withWrites(third, { operations: 52, bytes: 4e6 }, 5_000);
  assert.ok(isBusy(flushed, 19_999), 'a flush counts');
  const fewer = withWrites(flushed, { operations: 3, bytes: 10 }, 6_000);
  assert.deepEqual([fewer.wroteAt, fewer.bytesPerSecond], [5_000, 0]);
  assert.equal(withWrites(flushed, { operations: 53, bytes: 5e6 }, 5_000).bytesPerSecond, 0, 'at once');
  assert.ok(isBusy(withLostTime(flushed, 7_000), 26_999));
});

test('how much is written, in words', () => {
  for (const [rate, words] of [
    [0, 'still writing'],
    [999, 'still writing'],
    [1_000, 'still writing, 1.0 kB/s'],
    [999_999, 'still writing, 1000.0 kB/s'],
    [3_240_000, 'still writing, 3.2 MB/s'],
    [1.2e9, 'still writing, 1200.0 MB/s'],
  ] as const)
    assert.equal(describeWriting(rate), words);
});
