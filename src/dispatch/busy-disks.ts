import { type DiskWrites, busyForMs, isBusy, withWrites, writingOf } from '../outcome/disk-activity.js';
import { notice } from './notices.js';
import { type Shutdown, type Step, mayReadDisks } from './state.js';

/*
 * More time at the deadline for a guest whose disks are still written, if the user has given any (`--busy-timeout`).
 */

/** From one reading of what the disks have done to the next, in milliseconds. */
const readEveryMs = 1_000;

/** Has QEMU asked what its disks have done, if it is time. */
export function readDisks(s: Step): void {
  const { shutdown } = s.state;
  if (shutdown === null || !mayReadDisks(s.state) || s.now < shutdown.disksReadAt) return;
  s.effects.push({ do: 'read-disks' });
  shutdown.isReadingDisks = true;
  shutdown.disksReadAt = s.now + readEveryMs;
}

/** @param writes `null` if QEMU did not say */
export function onDisks({ state: { shutdown }, now }: Step, writes: DiskWrites | null): void {
  if (shutdown === null) return;
  shutdown.isReadingDisks = false;
  if (writes !== null) shutdown.disks = withWrites(shutdown.disks, writes, now);
}

/**
 * Moves the deadline that has come, if the disks are still written.
 * @returns false if it stays
 */
export function giveMoreTime(s: Step, shutdown: Shutdown): boolean {
  const { disks, busyUntil, rule, since } = shutdown;
  if (busyUntil === null || s.now >= busyUntil || !isBusy(disks, s.now)) return false;
  shutdown.deadline = Math.min(disks.wroteAt + busyForMs, busyUntil);
  if (shutdown.isExtended) return true;
  shutdown.isExtended = true;
  const writing = writingOf(disks, s.now);
  if (writing !== null) notice(s, { event: 'more-time', signal: rule.signal, ...writing, busyMs: busyUntil - since });
  return true;
}
