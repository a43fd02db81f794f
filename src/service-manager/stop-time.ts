import { findInPath } from '../system/search-path.js';
import { formatSeconds, parseSpan } from '../system/duration.js';
import { showUnit, unitOf } from './unit.js';

/*
 * How long systemd gives a unit to stop, asked if qemu-trap runs in one.
 */

interface StopTime {
  readonly unit: string;
  /** `TimeoutStopSec`, in milliseconds; `Infinity` for none. */
  readonly ms: number;
  /** While qemu-trap waits, its notifications extend that time (sd_notify(3)). */
  readonly isExtended: boolean;
}

/** What is wrong with a unit that systemd kills too soon, and how to fix it. */
interface StopTimeFault {
  readonly unit: string;
  readonly message: string;
  readonly fix: string;
}

/**
 * Whether the unit that qemu-trap runs in has time enough for a stop.
 * @param neededMs how long a stop may take, in milliseconds; Infinity: the guest is never forced
 * @returns `null` if it has, or qemu-trap is in none
 */
export async function findStopTimeFault(neededMs: number, env: NodeJS.ProcessEnv): Promise<StopTimeFault | null> {
  const given = await stopTime(env);
  if (given === null || given.isExtended || given.ms === Infinity || given.ms > neededMs) return null;
  const { unit } = given;
  const isEndless = neededMs === Infinity;
  const fix = `TimeoutStopSec=${isEndless ? 'infinity' : Math.ceil(neededMs / 1000) + 10} in ${unit}, or NotifyAccess=all there`;
  return {
    unit,
    fix,
    message: `${unit}: systemd kills it (SIGKILL) after TimeoutStopSec=${formatSeconds(given.ms).replace(' ', '')}, but a shutdown may take ${isEndless ? 'as long as the guest needs' : formatSeconds(neededMs)}; fix: ${fix}`,
  };
}

/** `null` if qemu-trap is not under systemd, or that does not say. */
async function stopTime(env: NodeJS.ProcessEnv): Promise<StopTime | null> {
  // What a login or cron starts is in a unit as well, and none of its own.
  const own = env['INVOCATION_ID'] ? unitOf('self') : null;
  if (own === null) return null;
  const property = await showUnit(own, ['TimeoutStopUSec', 'NotifyAccess'], env);
  const ms = parseSpan(property('TimeoutStopUSec'));
  if (ms === null) return null;
  return {
    unit: own.name,
    ms,
    isExtended:
      property('NotifyAccess') === 'all' && findInPath(env['PATH'] ?? '/usr/bin:/bin', 'systemd-notify') !== null,
  };
}
