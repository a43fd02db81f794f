import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import spawn from 'cross-spawn';
import { findInPath } from '../search-path.js';

/*
 * How long systemd gives a unit to stop, asked where qemu-trap runs in one.
 */

/** How long systemctl(1) has to answer, in milliseconds. */
const answersWithinMs = 3_000;

export interface StopTime {
  readonly unit: string;
  /** `TimeoutStopSec`, in milliseconds; `Infinity` for none. */
  readonly ms: number;
  /** While qemu-trap waits, its notifications extend that time (sd_notify(3)). */
  readonly isExtended: boolean;
}

/** The unit that this process runs in (cgroups(7)), and whether a user's own manager has it; `null` where in none. */
function ownUnit(): { readonly unit: string; readonly isUsers: boolean } | null {
  let groups: string;
  try {
    groups = readFileSync('/proc/self/cgroup', 'latin1');
  } catch {
    return null;
  }
  // systemd's is the one of version 2, or its own of version 1; where there are both, one of them is the root.
  for (const [, path = ''] of groups.matchAll(/^(?:0:|\d+:name=systemd):(.*)$/gm)) {
    const unit = basename(path);
    if (unit.endsWith('.service') && !unit.startsWith('user@')) return { unit, isUsers: path.includes('/user@') };
  }
  return null;
}

/** Milliseconds of a time as systemd writes it (systemd.time(7)): `1min 30s`, `infinity`. */
export function parseSpan(text: string): number | null {
  if (text === 'infinity') return Infinity;
  const units: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1000, min: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };
  let ms = 0;
  for (const part of text.trim().split(/\s+/)) {
    const [, number, unit = ''] = /^(\d+(?:\.\d+)?)([a-z]+)$/.exec(part) ?? [];
    const factor = units[unit];
    if (number === undefined || factor === undefined) return null;
    ms += Number(number) * factor;
  }
  return ms;
}

/** `null` where qemu-trap is not under systemd, or that does not say. */
export function stopTime(env: NodeJS.ProcessEnv): StopTime | null {
  const own = ownUnit();
  if (own === null) return null;
  const { stdout } = spawn.sync('systemctl', [...(own.isUsers ? ['--user'] : []), 'show', '-p', 'TimeoutStopUSec', '-p', 'NotifyAccess', own.unit], { encoding: 'utf8', timeout: answersWithinMs, env, stdio: ['ignore', 'pipe', 'ignore'] });
  const property = (name: string): string => new RegExp(`^${name}=(.*)$`, 'm').exec(stdout ?? '')?.[1] ?? '';
  const ms = parseSpan(property('TimeoutStopUSec'));
  if (ms === null) return null;
  return { unit: own.unit, ms, isExtended: property('NotifyAccess') === 'all' && findInPath(env['PATH'] ?? '/usr/bin:/bin', 'systemd-notify') !== null };
}
