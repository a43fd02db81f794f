import { readFileSync } from 'node:fs';
import { spawn } from '../system/spawn.js';
import { startTimer } from '../system/timer.js';

/*
 * systemd's unit of a process, and what systemd says of it.
 */

/** How long systemctl(1) has to answer, in milliseconds. */
const answersWithinMs = 3_000;

export interface Unit {
  readonly name: string;
  /** A user's own manager has it. */
  readonly isUsers: boolean;
}

/** The unit that a process runs in, or below (cgroups(7)); `null`: in none, or in one that is no service. */
export function unitOf(pid: number | 'self'): Unit | null {
  let groups: string;
  try {
    groups = readFileSync(`/proc/${pid}/cgroup`, 'latin1');
  } catch {
    return null;
  }
  // systemd's is the one of version 2, or its own of version 1; if there are both, one of them is the root.
  for (const [, path = ''] of groups.matchAll(/^(?:0:|\d+:name=systemd):(.*)$/gm)) {
    const unit = unitIn(path);
    if (unit !== null) return unit;
  }
  return null;
}

/** A unit's control group lies below those of slices; that of a user's own manager has units below it in the same way. */
export function unitIn(path: string): Unit | null {
  const names = path.split('/').filter((name) => name !== '' && !name.endsWith('.slice'));
  const isUsers = /^user@.*\.service$/.test(names[0] ?? '');
  const name = names[isUsers ? 1 : 0];
  return name?.endsWith('.service') === true ? { name, isUsers } : null;
}

/**
 * Asks systemctl(1) for properties of a unit.
 * @returns gives a property; `''`: systemd does not say
 */
export function showUnit(
  { name, isUsers }: Unit,
  properties: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<(property: string) => string> {
  return new Promise((resolve) => {
    let said = '';
    const child = spawn(
      'systemctl',
      [...(isUsers ? ['--user'] : []), 'show', ...properties.flatMap((each) => ['-p', each]), name],
      { env, stdio: ['ignore', 'pipe', 'ignore'], detached: true },
    );
    const timer = startTimer(answersWithinMs, () => child.kill('SIGKILL'));
    const settle = (): void => {
      timer.cancel();
      resolve((property) => new RegExp(`^${property}=(.*)$`, 'm').exec(said)?.[1] ?? '');
    };
    child.stdout?.on('data', (chunk: Buffer) => (said += chunk.toString('latin1')));
    child.on('error', settle).on('close', settle);
  });
}
