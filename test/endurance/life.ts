import { existsSync, readdirSync } from 'node:fs';
import { guestSays } from '../../src/commands/try/guest.js';
import { type Lab, parseLog, read, type Trap, until } from '../support/lab.js';

/*
 * What a life of a VM is judged by, whatever was bad about it.
 */

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** How a qemu-trap ends. */
export interface EndWatch {
  readonly ended: Promise<Ended>;
  /** It has ended. */
  readonly isOver: () => boolean;
}

export function watchEnd({ child }: Trap): EndWatch {
  const isOver = (): boolean => child.exitCode !== null || child.signalCode !== null;
  const end = (): Ended => ({ code: child.exitCode, signal: child.signalCode });
  const ended = new Promise<Ended>((resolve) => {
    if (isOver()) resolve(end());
    else child.once('exit', () => resolve(end()));
  });
  return { ended, isOver };
}

/** `null` if it takes longer than `ms` milliseconds. */
export function within<T>(ms: number, what: Promise<T>): Promise<T | null> {
  let timer: NodeJS.Timeout;
  return Promise.race([what, new Promise<null>((resolve) => (timer = setTimeout(() => resolve(null), ms)))]).finally(
    () => clearTimeout(timer),
  );
}

export async function quietly<T>(what: Promise<T>): Promise<T | null> {
  return what.catch(() => null);
}

/** A fault of qemu-trap's. */
export interface Complaint {
  /** `qemu`: QEMU's own crash, when its guest had shut down. */
  readonly kind: 'lost' | 'hang' | 'leftover' | 'untrue' | 'qemu';
  readonly what: string;
}

export interface Life {
  /** `null`: it hangs. */
  readonly end: Ended | null;
  readonly serial: string;
  /** `null` if it cannot be read. */
  readonly stderr: string | null;
}

/** What may be without being a fault. */
export interface Allowed {
  /** That no QEMU is started. */
  readonly refusal: boolean;
  /** That the guest is cut off. */
  readonly cutOff: boolean;
}

/** Whether exit status, last line, and what the guest saw are one story, and the guest had its chance. */
export function judgeLife({ end, serial, stderr }: Life, { refusal, cutOff }: Allowed): Complaint[] {
  const complaint = (kind: Complaint['kind'], what: string): Complaint[] => [{ kind, what }];
  const hasRun = serial !== '';
  if (end === null) return complaint('hang', 'it has not ended');
  if (end.signal !== null)
    return hasRun ? complaint('untrue', `qemu-trap was ended by ${end.signal} with a guest that ran`) : [];
  const last =
    stderr === null
      ? undefined
      : parseLog(stderr)
          .filter(({ event }) => event === 'exit')
          .at(-1);
  const [status, verdict] = [end.code ?? NaN, String(last?.['cause'] ?? last?.['verdict'] ?? 'no cause')];
  const told: Complaint[] = [];
  if (last !== undefined && last['status'] !== status)
    told.push({ kind: 'untrue', what: `status ${status}, and the last line says ${String(last['status'])}` });
  if (stderr !== null && last === undefined && hasRun) told.push({ kind: 'untrue', what: 'no last line' });
  if (stderr?.trim() === '') told.push({ kind: 'untrue', what: `status ${status} without a word` });
  if (serial.includes(guestSays.bye)) {
    if (last?.['end'] === 'guest-shutdown' && ['SIGSEGV', 'SIGABRT'].includes(String(last['qemu_signal'])))
      told.push({ kind: 'qemu', what: `QEMU crashed as it exited: ${String(last['qemu_signal'])}` });
    else if (status !== 0 && !cutOff)
      told.push({ kind: 'untrue', what: `the guest went by itself, and the status is ${status}` });
  } else if (!hasRun) {
    if (status === 0 && last !== undefined && !['never-ran', 'clean'].includes(verdict))
      told.push({ kind: 'untrue', what: `status 0 (${verdict}) of a guest that never ran` });
    if (status !== 0 && !refusal)
      told.push({ kind: 'untrue', what: `status ${status}, and nothing stood in the way of a start` });
  } else if (status === 0) {
    told.push({ kind: 'untrue', what: `status 0 (${verdict}), and the guest never said goodbye` });
  } else if (!cutOff) {
    const pressed = serial.includes(guestSays.pressed);
    told.push({ kind: 'lost', what: `cut off, status ${status}, and the button ${pressed ? 'was' : 'was not'} heard` });
  } else if (![124, 137].includes(status)) {
    told.push({ kind: 'untrue', what: `status ${status}, where 124 or 137 is the truth` });
  }
  return told;
}

/** What is left behind: processes, and the run directory (`null`: it may be there). */
export async function leftovers(lab: Lab, runDir: string | null = lab.runDir): Promise<Complaint[]> {
  await quietly(until('no process is left', () => lab.left().length === 0, 5_000));
  const processes = lab
    .left()
    .map((pid) => `process ${pid}: ${read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').slice(0, 200)}`);
  const files =
    runDir !== null && existsSync(runDir)
      ? [`the run directory, with ${readdirSync(runDir).join(' ') || 'nothing'} in it`]
      : [];
  return [...processes, ...files].map((what) => ({ kind: 'leftover', what }));
}

/** Does `work` for each of `items`, some at a time. */
export async function inLanes<T>(
  lanes: number,
  items: readonly T[],
  work: (item: T, lane: number) => Promise<void>,
): Promise<void> {
  const todo = [...items];
  await Promise.all(
    Array.from({ length: lanes }, async (_, lane) => {
      for (let item = todo.shift(); item !== undefined; item = todo.shift()) await work(item, lane);
    }),
  );
}

/** What there is to complain of, and what qemu-trap said. */
export function formatComplaints(complaints: readonly Complaint[], log: string): string {
  return [
    ...complaints.map(({ kind, what }) => `  ${kind.toUpperCase()}: ${what}`),
    log.replaceAll(/^/gm, '  | '),
  ].join('\n');
}

/** How many of each complaint there were. */
export class Count {
  readonly of: Record<Complaint['kind'], number> = { lost: 0, hang: 0, leftover: 0, untrue: 0, qemu: 0 };

  add(complaints: readonly Complaint[]): void {
    for (const { kind } of complaints) this.of[kind]++;
  }

  get none(): boolean {
    const { qemu, ...faults } = this.of;
    return Object.values(faults).every((times) => times === 0);
  }

  toString(): string {
    const { lost, hang, leftover, untrue, qemu } = this.of;
    const crashes = qemu === 0 ? '' : `; crashes of a QEMU that exits: ${qemu}`;
    return `guests lost: ${lost}; hangs: ${hang}; leftovers: ${leftover}; untrue statuses or last lines: ${untrue}${crashes}`;
  }
}
