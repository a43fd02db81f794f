import { isLate } from '../outcome/end-cause.js';
import type { RunRecord } from './run-record.js';

/** What the stops of a VM say together. */
interface Summary {
  /** Shutdowns on a signal. */
  readonly stops: number;
  /** Of these, ended by the guest itself. */
  readonly clean: number;
  /** How often the guest was cut off, on a signal or without one. */
  readonly cutOff: number;
  /** Runs of which that is not known. */
  readonly unknown: number;
  /** The slowest of the clean ones, from its signal, in milliseconds. */
  readonly slowestMs: number | null;
  /** How often the guest had not shut down by its deadline. */
  readonly late: number;
  /** The `--timeout` that these stops speak for, in whole seconds; `null` if they are too few, or never clean. */
  readonly suggestedTimeout: number | null;
}

/** How the last run of a guest ended: a QEMU that did not start had none. */
export function lastEnd(records: readonly RunRecord[]): RunRecord | null {
  return records.filter(({ end }) => end !== 'start-failed').at(-1) ?? null;
}

/** Fewer stops than this say nothing of the next one. */
const leastStops = 5;

/** @param leastSeconds no less is suggested: the default */
export function summarize(records: readonly RunRecord[], leastSeconds: number): Summary {
  const asked = records.filter(({ signal, end }) => signal !== null && end !== 'start-failed');
  const clean = asked.filter(({ end }) => end === 'guest-shutdown' || end === 'guest-reset');
  const cutOff = records.filter(({ cut_off }) => cut_off === true);
  // Of a guest that had not gone by its deadline, all that is known is that it takes longer.
  const late = asked.filter(({ cause }) => isLate(cause)).map(({ timeout_ms }) => timeout_ms ?? 0);
  const slowestMs = clean.length === 0 ? null : Math.max(...clean.map(({ ms }) => ms ?? 0));
  const longest = Math.max(slowestMs ?? 0, ...late);
  return {
    stops: asked.length,
    clean: clean.length,
    cutOff: cutOff.length,
    unknown: records.filter(({ cut_off }) => cut_off === null).length,
    slowestMs,
    late: late.length,
    // Twice the slowest is as long as a guest takes on a busier host.
    suggestedTimeout:
      slowestMs === null || asked.length < leastStops
        ? null
        : Math.max(leastSeconds, Math.ceil((2 * longest) / 5_000) * 5),
  };
}
