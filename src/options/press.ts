import { parseSeconds } from '../system/duration.js';
import { UsageError } from '../system/usage-error.js';

/** Gaps between presses of the power button, in milliseconds, the last one repeated; empty: one press only. */
export type PressGaps = readonly number[];

/** Shorter gaps would only keep the monitor busy. */
const shortestGapMs = 50;

/**
 * Reads `SECONDS[,SECONDS...]` or `once`.
 * @throws {UsageError} for anything else
 */
export function parsePress(text: string): PressGaps {
  if (text === 'once') return [];
  return text.split(',').map((gap) => {
    const ms = parseSeconds(gap, '--press');
    if (ms < shortestGapMs) throw new UsageError(`--press: ${gap} s is too short a gap: write 0.05 or more, or once`);
    return ms;
  });
}

/** The gap after press number `presses` (from 1), in milliseconds; Infinity where no other press is due. */
export function gapAfter(gaps: PressGaps, presses: number): number {
  return gaps[Math.min(presses, gaps.length) - 1] ?? Infinity;
}
