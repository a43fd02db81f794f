import { readdirSync, readlinkSync } from 'node:fs';
import { guestSays } from '../../src/commands/try/guest.js';
import { Lab, read, until } from '../support/lab.js';

/*
 * Months of a VM in a minute: one qemu-trap, one guest, and signals without end.
 */

export interface Sample {
  readonly signals: number;
  /** Private memory of qemu-trap, in KiB. */
  readonly memory: number;
}

export interface LongLife {
  readonly way: 'in process' | 'by hook';
  readonly samples: readonly Sample[];
  /** How many descriptors are open when there is nothing to do, after the first tenth and at the end. */
  readonly restingDescriptors: readonly [number, number];
  readonly status: number;
  readonly saidBye: boolean;
  readonly leftovers: number;
}

function privateMemory(pid: number): number {
  return [...read(`/proc/${pid}/smaps_rollup`).matchAll(/^Private_(?:Clean|Dirty): +(\d+) kB$/gm)].reduce(
    (sum, match) => sum + Number(match[1]),
    0,
  );
}

/** How many pipes for the output of hooks qemu-trap may keep ready: `spares` of src/hook/output-pipes.ts. */
const mostSparePipes = 4;

/** How many descriptors are open, not counting the spare output pipes, whose number goes up and down. */
function openDescriptors(pid: number): number {
  const open = readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/${pid}/fd/${fd}`)];
    } catch {
      return [];
    }
  });
  const spare = open.filter((target) => /\/output-\d+ \(deleted\)$/.test(target)).length;
  return open.length - Math.min(spare, 2 * mostSparePipes);
}

/** So long nothing is opened or closed where there is nothing to do. */
const restMs = 1_000;

/** How many descriptors are open when there is nothing to do: between two hooks it is one less, for a moment. */
async function descriptorsAtRest(pid: number): Promise<number> {
  let [last, since] = [openDescriptors(pid), performance.now()];
  return until('descriptors are at rest', () => {
    const now = openDescriptors(pid);
    if (now !== last) [last, since] = [now, performance.now()];
    return performance.now() - since > restMs ? last : null;
  });
}

/** The same, but no longer waited for than it takes to be `expected`: a leak stays open, however long the machine takes. */
async function descriptorsInTheEnd(pid: number, expected: number): Promise<number> {
  let last = openDescriptors(pid);
  await until('descriptors are closed', () => (last = openDescriptors(pid)) <= expected).catch(() => undefined);
  return last;
}

/** Resets a living guest `times` times, one after the other, with a sample at each tenth of them. */
export async function liveLong(way: LongLife['way'], times: number): Promise<LongLife> {
  const undo: (() => unknown)[] = [];
  const lab = new Lab({ after: (last: () => unknown) => void undo.push(last) } as ConstructorParameters<typeof Lab>[0]);
  try {
    const rule = way === 'in process' ? 'HUP,monitorcommand=system_reset' : 'HUP,script=reset';
    const trap = await lab.startGuest({ options: ['--signal', rule] });
    const done = way === 'in process' ? '"event":"command"' : '"event":"hook-end"';
    let count = 0;
    let tail = '';
    let wake = (): void => undefined;
    // Not kept, for the log of ten thousand resets is long.
    trap.child.stderr?.removeAllListeners('data').on('data', (chunk: Buffer) => {
      const lines = (tail + chunk.toString('latin1')).split('\n');
      tail = lines.pop() ?? '';
      count += lines.filter((line) => line.includes(done)).length;
      wake();
    });
    const samples: Sample[] = [];
    let restingAtFirst: number | undefined;
    for (let sent = 1; sent <= times; sent++) {
      trap.kill('SIGHUP');
      const late = performance.now() + 30_000;
      while (count < sent) {
        if (performance.now() > late) throw new Error(`reset ${sent} of ${times} is not done`);
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, 1_000);
          wake = () => (clearTimeout(timer), resolve());
        });
      }
      if (sent % Math.ceil(times / 10) === 0) {
        samples.push({ signals: sent, memory: privateMemory(trap.pid) });
        restingAtFirst ??= await descriptorsAtRest(trap.pid);
      }
    }
    const atFirst = restingAtFirst ?? 0;
    const restingDescriptors = [atFirst, await descriptorsInTheEnd(trap.pid, atFirst)] as const;
    const before = read(lab.serial).split(guestSays.up).length;
    trap.kill('SIGHUP');
    await until('the guest is up once more', () => read(lab.serial).split(guestSays.up).length > before);
    trap.kill('SIGTERM');
    const status = await trap.status();
    await until('nothing is left', () => lab.left().length === 0, 5_000).catch(() => undefined);
    return { way, samples, restingDescriptors, status, saidBye: lab.said('bye') === 1, leftovers: lab.left().length };
  } finally {
    for (const last of undo) await last();
  }
}

/** More than V8 ever lets its young generation grow to here, which it does with the work, and less than any leak ends in. */
const mostMemory = 64 * 1024;
/** So many signals are enough for V8's heap to have found its size. */
const settledAfter = 500;

/**
 * What is wrong with such a life. Memory is flat where what comes after the middle, and after V8 has found its size,
 * adds at most a tenth; descriptors, if no more are open at rest than were after the first tenth.
 */
export function complaintsOf({ samples, restingDescriptors, status, saidBye, leftovers }: LongLife): string[] {
  const half = Math.floor(samples.length / 2);
  const most = (some: readonly Sample[]): number => Math.max(...some.map(({ memory }) => memory));
  const [first, second] = [samples.slice(0, half), samples.slice(half)];
  const complaints: string[] = [];
  const [before, after] = [most(first), most(second)];
  if (after > mostMemory) complaints.push(`memory is ${after} KiB`);
  if ((samples[half]?.signals ?? 0) > settledAfter && after > before * 1.1 + 1_024)
    complaints.push(`memory grew from ${before} to ${after} KiB in the second half`);
  const [early, late] = restingDescriptors;
  if (late > early) complaints.push(`descriptors at rest grew from ${early} to ${late}`);
  if (status !== 0 || !saidBye)
    complaints.push(`status ${status}${saidBye ? '' : ', and the guest never said goodbye'}`);
  if (leftovers > 0) complaints.push(`${leftovers} processes are left`);
  return complaints;
}

export function describeLongLife({ way, samples, restingDescriptors: [early, late] }: LongLife): string {
  const rows = samples.map(({ signals, memory }) => `${signals}: ${memory} KiB`);
  return `resets of a living guest, ${way}:\n  ${rows.join('\n  ')}\n  descriptors at rest: ${early}, then ${late}`;
}
