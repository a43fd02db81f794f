import { UsageError } from './usage-error.js';

const [second, minute, hour, day] = [1_000, 60_000, 3_600_000, 86_400_000];

/** The units of systemd.time(7), in milliseconds. */
const units: Readonly<Record<string, number>> = {
  ...{ usec: 0.001, us: 0.001, '\u03bcs': 0.001, '\u00b5s': 0.001, msec: 1, ms: 1 },
  ...{ seconds: second, second, sec: second, s: second, '': second },
  ...{ minutes: minute, minute, min: minute, m: minute },
  ...{ hours: hour, hour, hr: hour, h: hour },
  ...{ days: day, day, d: day, weeks: 7 * day, week: 7 * day, w: 7 * day },
  // As it has them: a year has 365.25 days, and twelve months.
  ...{ months: 30.4375 * day, month: 30.4375 * day, M: 30.4375 * day },
  ...{ years: 365.25 * day, year: 365.25 * day, y: 365.25 * day },
};

/** A Date has room for it, counted from now (ECMAScript's time values). */
const longestMs = 100_000 * 365.25 * day;

/** One number and its unit; what follows a number without one stands apart. */
const part = /\s*(\d+\.?\d*|\.\d+)\s*([a-zA-Z\u03bc\u00b5]+|(?![\d.]))/y;

/**
 * Reads a span of time as systemd.time(7) writes it: `90`, `90s`, `1min 30s`, `infinity`; without a unit it is seconds.
 * @returns milliseconds; `null` for anything else
 */
export function parseSpan(text: string): number | null {
  const words = text.trim();
  if (words === 'infinity') return Infinity;
  if (words === '') return null;
  let ms = 0;
  for (part.lastIndex = 0; part.lastIndex < words.length; ) {
    const [, number, unit = ''] = part.exec(words) ?? [];
    const factor = Object.hasOwn(units, unit) ? units[unit] : undefined;
    if (number === undefined || factor === undefined || (unit !== '' && number.endsWith('.'))) return null;
    ms += Number(number) * factor;
  }
  return ms;
}

/**
 * Reads a time as users write it.
 * @param what the option or key it stands under, for the message
 * @param infinity what to write in the place of `infinity`, for a wait that has to end; `null`: it may be written
 * @returns milliseconds
 * @throws {UsageError} for anything else
 */
export function parseTime(text: string, what: string, infinity: string | null): number {
  const ms = parseSpan(text);
  const alsoInfinity = infinity === null ? ', or infinity' : '';
  if (ms === null)
    throw new UsageError(
      `${what}: '${text}' is not a time: write seconds, such as 60 or 0.5, or a span of time, such as 5min or 1h30min${alsoInfinity}`,
    );
  if (ms === Infinity && infinity !== null)
    throw new UsageError(`${what}: 'infinity' is not possible here: ${infinity}`);
  if (ms !== Infinity && ms > longestMs)
    throw new UsageError(`${what}: '${text}' is too long a time: write less than 100,000 years`);
  return ms;
}

/** A span of time in words, to the hundredth of a second. */
export function formatSeconds(ms: number): string {
  return `${Number((ms / 1000).toFixed(2))} s`;
}

/** A timeout of `ms` milliseconds as JSON has it, which does not know Infinity; `null`: there is none to tell of. */
export function timeoutFacts(ms: number | null): { readonly timeout_ms: number | null; readonly timeout?: 'infinity' } {
  return ms === Infinity ? { timeout_ms: null, timeout: 'infinity' } : { timeout_ms: ms };
}
