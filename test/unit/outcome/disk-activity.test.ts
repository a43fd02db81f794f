import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  describeWriting,
  isBusy,
  noDiskActivity,
  withLostTime,
  withWrites,
  writingOf,
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
  for (const [bytesPerSecond, quietMs, words] of [
    [0, 0, 'still writing'],
    [999, 0, 'still writing'],
    [1_000, 0, 'still writing, 1.0 kB/s'],
    [999_999, 1_999, 'still writing, 1000.0 kB/s'],
    [3_240_000, 0, 'still writing, 3.2 MB/s'],
    [1.2e9, 0, 'still writing, 1200.0 MB/s'],
    [3_240_000, 2_000, 'last wrote 2 s ago'],
    [0, 14_600, 'last wrote 15 s ago'],
  ] as const)
    assert.equal(describeWriting({ bytesPerSecond, quietMs }), words);
});

test('what is told of disks: nothing if they are not written any more', () => {
  assert.equal(writingOf(noDiskActivity, 0), null);
  const once = withWrites(
    withWrites(noDiskActivity, { operations: 1, bytes: 0 }, 0),
    { operations: 2, bytes: 5e5 },
    500,
  );
  assert.deepEqual(writingOf(once, 600), { bytesPerSecond: 1e6, quietMs: 100 });
  const quiet = withWrites(once, { operations: 2, bytes: 5e5 }, 4_500);
  assert.deepEqual(writingOf(quiet, 4_500), { bytesPerSecond: 0, quietMs: 4_000 });
  assert.equal(writingOf(quiet, 15_500), null);
});
