import { readFileSync, readdirSync } from 'node:fs';

/*
 * What a process costs (proc(5)).
 */

/** In MiB: what is its alone, or its share of what it shares. */
export function memory(pid: number, kind: 'Private' | 'Pss'): number {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1');
  const fields = kind === 'Pss' ? /^Pss: +(\d+) kB$/gm : /^Private_(?:Clean|Dirty): +(\d+) kB$/gm;
  return [...text.matchAll(fields)].reduce((sum, match) => sum + Number(match[1]), 0) / 1024;
}

function tasks(pid: number): string[] {
  return readdirSync(`/proc/${pid}/task`);
}

export function threads(pid: number): number {
  return tasks(pid).length;
}

/** How often its threads have been switched away from: once at least for each time that one woke up. */
export function switches(pid: number): number {
  return tasks(pid).reduce((sum, task) => {
    const status = readFileSync(`/proc/${pid}/task/${task}/status`, 'latin1');
    return (
      sum +
      [...status.matchAll(/^(?:non)?voluntary_ctxt_switches:\s+(\d+)$/gm)].reduce(
        (each, match) => each + Number(match[1]),
        0,
      )
    );
  }, 0);
}

/** Processor time of the whole host since its boot, in milliseconds, without what it was idle or waited for a disk. */
export function busyMs(): number {
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] =
    readFileSync('/proc/stat', 'latin1').split('\n', 1)[0]?.trim().split(/\s+/).slice(1).map(Number) ?? [];
  return (user + nice + system + irq + softirq) * 10;
}

/** Processor time in milliseconds; USER_HZ is 100 on every Linux that Node runs on (time(7)). */
export function processorMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}
