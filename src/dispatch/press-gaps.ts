/** Gaps between presses of the power button, in milliseconds, the last one repeated; empty: one press only. */
export type PressGaps = readonly number[];

/** The gap after press number `presses` (from 1), in milliseconds; Infinity if no other press is due. */
export function gapAfter(gaps: PressGaps, presses: number): number {
  return gaps[Math.min(presses, gaps.length) - 1] ?? Infinity;
}
