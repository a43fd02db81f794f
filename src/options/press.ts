import type { PressGaps } from '../dispatch/press-gaps.js';
import { parseTime } from '../system/duration.js';
import { nearest } from '../system/near-miss.js';
import { UsageError } from '../system/usage-error.js';

/** Shorter gaps would only keep the monitor busy. */
const shortestGapMs = 50;

/**
 * Reads `TIME[,TIME...]` or `once`.
 * @throws {UsageError} for anything else
 */
export function parsePress(text: string): PressGaps {
  if (text === 'once') return [];
  if (nearest(text, ['once']) !== null) throw new UsageError(`--press ${text}: write --press once`);
  const gaps = text.split(',');
  if (gaps.includes('once'))
    throw new UsageError(`--press ${text}: once stands alone: write --press once, or times such as --press 0.5,10`);
  return gaps.map((gap) => {
    const ms = parseTime(gap, '--press', 'write once for one press only');
    if (ms < shortestGapMs) throw new UsageError(`--press: ${gap} is too short a gap: write 0.05 or more, or once`);
    return ms;
  });
}

/** As `$QEMU_TRAP_PRESS` has it: `once`, or seconds without a unit, which a script can read. */
export function formatPress(gaps: PressGaps): string {
  return gaps.length === 0 ? 'once' : gaps.map((ms) => String(ms / 1000)).join(',');
}
