import type { PressGaps } from '../dispatch/press-gaps.js';
import { parseSeconds } from '../system/duration.js';
import { UsageError } from '../system/usage-error.js';

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
