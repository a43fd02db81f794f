import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { findInPath } from '../system/search-path.js';
import { formatSeconds, parseSpan } from '../system/duration.js';
import { spawn } from '../system/spawn.js';
import { startTimer } from '../system/timer.js';

/*
 * How long systemd gives a unit to stop, asked where qemu-trap runs in one.
 */

/** How long systemctl(1) has to answer, in milliseconds. */
const answersWithinMs = 3_000;

interface StopTime {
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

/** What systemctl(1) says of a unit; `''` where it says nothing. */
function show(unit: string, isUsers: boolean, env: NodeJS.ProcessEnv): Promise<string> {
  return new Promise((resolve) => {
    let said = '';
    const child = spawn(
      'systemctl',
      [...(isUsers ? ['--user'] : []), 'show', '-p', 'TimeoutStopUSec', '-p', 'NotifyAccess', unit],
      { env, stdio: ['ignore', 'pipe', 'ignore'] },
    );
    const timer = startTimer(answersWithinMs, () => child.kill('SIGKILL'));
    const settle = (): void => {
      timer.cancel();
      resolve(said);
    };
    child.stdout?.on('data', (chunk: Buffer) => (said += chunk.toString('latin1')));
    child.on('error', settle).on('close', settle);
  });
}

/** What is wrong with a unit that systemd ends too soon, and how to fix it. */
interface StopTimeFault {
  readonly unit: string;
  readonly message: string;
  readonly fix: string;
}

/**
 * Whether the unit that qemu-trap runs in has time enough for a stop.
 * @param neededMs how long a stop may take, in milliseconds; Infinity: the guest is never forced
 * @returns `null` where it has, or qemu-trap is in none
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

/** `null` where qemu-trap is not under systemd, or that does not say. */
async function stopTime(env: NodeJS.ProcessEnv): Promise<StopTime | null> {
  // What a login or cron starts is in a unit as well, and none of its own.
  const own = env['INVOCATION_ID'] ? ownUnit() : null;
  if (own === null) return null;
  const shown = await show(own.unit, own.isUsers, env);
  const property = (name: string): string => new RegExp(`^${name}=(.*)$`, 'm').exec(shown)?.[1] ?? '';
  const ms = parseSpan(property('TimeoutStopUSec'));
  if (ms === null) return null;
  return {
    unit: own.unit,
    ms,
    isExtended:
      property('NotifyAccess') === 'all' && findInPath(env['PATH'] ?? '/usr/bin:/bin', 'systemd-notify') !== null,
  };
}
