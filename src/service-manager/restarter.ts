import { readFileSync, readlinkSync } from 'node:fs';
import { shellQuote } from '../system/permissions.js';
import { readProcess } from '../system/processes.js';
import { showUnit, unitOf } from './unit.js';

/*
 * Service managers that start again what ends, whatever its exit status: the only stop is their own.
 */

/** What supervises one service, by its name as the kernel has it (15 letters); it runs in the service's own directory. */
const supervisors: Readonly<Record<string, (pid: number) => string>> = {
  runsv: (pid) => `sv -w 90 stop ${directoryOf(pid)}`,
  's6-supervise': (pid) => `s6-svc -wD -d ${directoryOf(pid)}`,
  supervise: (pid) => `svc -d ${directoryOf(pid)}`,
  'supervise-daemo': (pid) => `rc-service ${variableOf(pid, 'RC_SVCNAME')} stop`,
};

function directoryOf(pid: number): string {
  try {
    return shellQuote(readlinkSync(`/proc/${pid}/cwd`));
  } catch {
    return 'DIRECTORY';
  }
}

function variableOf(pid: number, name: string): string {
  try {
    const environment = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
    return environment.find((each) => each.startsWith(`${name}=`))?.slice(name.length + 1) ?? 'SERVICE';
  } catch {
    return 'SERVICE';
  }
}

function nameOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'latin1').trim();
  } catch {
    return '';
  }
}

/** True for a process, or one below it. */
function isAtOrBelow(pid: number, ancestor: number): boolean {
  for (let each = pid; each > 1; each = readProcess(each)?.parent ?? 0) if (each === ancestor) return true;
  return false;
}

/** Who would start a process again, and how it is stopped for good. */
export interface Restarter {
  readonly name: string;
  readonly command: string;
}

/** The supervisor above a process: of its parents, those of its session, and the one that began that session. */
function supervisorOf(pid: number): number | null {
  for (let each = readProcess(pid); each !== null && each.parent > 1; each = readProcess(each.parent)) {
    if (Object.hasOwn(supervisors, nameOf(each.parent))) return each.parent;
    if (each.session === each.pid) return null;
  }
  return null;
}

/** @returns `null`: none would, as far as it is known */
export async function restarterOf(pid: number, env: NodeJS.ProcessEnv): Promise<Restarter | null> {
  const supervisor = supervisorOf(pid);
  if (supervisor !== null) {
    const name = nameOf(supervisor);
    const command = (supervisors[name] as (typeof supervisors)[string])(supervisor);
    return { name: name === 'supervise-daemo' ? 'supervise-daemon' : name, command };
  }
  const unit = unitOf(pid);
  if (unit === null) return null;
  const property = await showUnit(unit, ['Restart', 'MainPID'], env);
  // What a login or cron starts is in a unit as well, and no part of what is started again.
  if (property('Restart') !== 'always' || !isAtOrBelow(pid, Number(property('MainPID')))) return null;
  return { name: 'systemd (Restart=always)', command: `systemctl ${unit.isUsers ? '--user ' : ''}stop ${unit.name}` };
}
