import { UsageError } from './usage-error.js';

const decimal = /^(\d+\.?\d*|\.\d+)$/;

/**
 * Reads a time as users write it, in seconds, fractions allowed.
 * @param what the option or key it stands under, for the message
 * @returns milliseconds
 * @throws {UsageError} for anything but a number of seconds from 0 up
 */
export function parseSeconds(text: string, what: string): number {
  const seconds = decimal.test(text) ? Number(text) : NaN;
  if (!Number.isFinite(seconds)) {
    throw new UsageError(`${what}: '${text}' is not a time: write seconds, such as 60 or 0.5`);
  }
  return seconds * 1000;
}

/** A span of time in words, to the hundredth of a second. */
export function formatSeconds(ms: number): string {
  return `${Number((ms / 1000).toFixed(2))} s`;
}
