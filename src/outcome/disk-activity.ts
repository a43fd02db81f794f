/*
 * Whether the guest still writes to its disks, by what QEMU has counted (query-blockstats of qapi/block-core.json).
 */

/** What QEMU has done on the guest's behalf since it started, on all disks that it serves itself. */
export interface DiskWrites {
  /** Writes and flushes. */
  readonly operations: number;
  readonly bytes: number;
}

export interface DiskActivity {
  /** The last reading, and when it was made. */
  readonly last: (DiskWrites & { readonly at: number }) | null;
  /** When a reading last had more than the one before it. */
  readonly wroteAt: number;
  /** Between the last two readings. */
  readonly bytesPerSecond: number;
}

export const noDiskActivity: DiskActivity = { last: null, wroteAt: -Infinity, bytesPerSecond: 0 };

/** For so long after a write, in milliseconds, a disk counts as still written: ext4 alone waits five seconds for the next one. */
export const busyForMs = 15_000;

export function withWrites(
  { last, wroteAt }: DiskActivity,
  { operations, bytes }: DiskWrites,
  now: number,
): DiskActivity {
  const reading = { operations, bytes, at: now };
  // A disk that was unplugged takes its counts along.
  if (last === null || operations < last.operations) return { last: reading, wroteAt, bytesPerSecond: 0 };
  return {
    last: reading,
    wroteAt: operations > last.operations ? now : wroteAt,
    bytesPerSecond: now > last.at ? Math.max(0, (bytes - last.bytes) / ((now - last.at) / 1_000)) : 0,
  };
}

/** Of a time in which nothing of this process ran. */
export function withLostTime(activity: DiskActivity, ms: number): DiskActivity {
  return { ...activity, wroteAt: activity.wroteAt + ms };
}

export function isBusy({ wroteAt }: DiskActivity, now: number): boolean {
  return now < wroteAt + busyForMs;
}

/** Readings come once a second, so a write may be told of as late as that. */
const quietFromMs = 2_000;

/** What is to be told of a guest whose disks are still written. */
export interface Writing {
  /** Between the last two readings. */
  readonly bytesPerSecond: number;
  /** How long ago a reading had more than the one before it, in milliseconds. */
  readonly quietMs: number;
}

/** @returns `null` if they are not written any more */
export function writingOf(activity: DiskActivity, now: number): Writing | null {
  if (!isBusy(activity, now)) return null;
  return { bytesPerSecond: activity.bytesPerSecond, quietMs: now - activity.wroteAt };
}

export function isQuiet({ quietMs }: Pick<Writing, 'quietMs'>): boolean {
  return quietMs >= quietFromMs;
}

/** `still writing, 3.2 MB/s`, without a rate if it is less than a kilobyte a second; `last wrote 9 s ago`. */
export function describeWriting({ bytesPerSecond, quietMs }: Writing): string {
  if (isQuiet({ quietMs })) return `last wrote ${Math.round(quietMs / 1_000)} s ago`;
  const [unit, size] = bytesPerSecond >= 1e6 ? (['MB', 1e6] as const) : (['kB', 1e3] as const);
  return bytesPerSecond < 1e3 ? 'still writing' : `still writing, ${(bytesPerSecond / size).toFixed(1)} ${unit}/s`;
}
