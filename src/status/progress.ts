import { type ButtonState, buttonStateOf } from '../outcome/button-evidence.js';
import { type Writing, describeWriting, writingOf } from '../outcome/disk-activity.js';
import type { DefaultAction } from '../rules/builtin.js';
import type { SignalName } from '../signals/names.js';
import type { Shutdown, State } from '../dispatch/state.js';

export interface Serving {
  readonly signal: SignalName;
  readonly waitsFor: 'qemu' | 'hook' | 'guest' | 'quit' | 'kill';
  readonly since: number;
  /** `null`: for as long as it takes. */
  readonly until: number | null;
  /** What the guest still writes, if that gives it more time. */
  readonly writing: Writing | null;
  /** Until when it has that time at most; `null` if it has none. */
  readonly mostUntil: number | null;
  /** What comes then. */
  readonly next: DefaultAction;
  /** What is known of the last press of the power button; `null` if it was not pressed. */
  readonly button: ButtonState | null;
}

const waits = { start: 'qemu', hook: 'hook', command: 'guest', 'power-button': 'guest', guest: 'guest' } as const;

const waitsInWords: Readonly<Record<Serving['waitsFor'], string>> = {
  qemu: 'for QEMU to start',
  hook: 'for the hook',
  guest: 'for the guest to shut down',
  quit: 'for QEMU to quit',
  kill: 'for SIGKILL to take effect',
};

/** Of a guest that is never forced. */
export const untilGuestGoes = 'until the guest shuts down';

/** What is waited for, in words that follow "waiting". */
export function describeWait({ waitsFor, until, writing }: Pick<Serving, 'waitsFor' | 'until' | 'writing'>): string {
  if (waitsFor === 'guest' && until === null) return untilGuestGoes;
  return `${waitsInWords[waitsFor]}${writing === null ? '' : ` (${describeWriting(writing)})`}`;
}

/** A guest that writes moves its deadline along, to the end of the time that it has for that. */
function deadlineOf({
  deadline,
  busyUntil,
  disks,
  seenAt,
}: Shutdown): Pick<Serving, 'until' | 'writing' | 'mostUntil'> {
  const until = deadline === Infinity ? null : deadline;
  const writing = busyUntil === null ? null : writingOf(disks, seenAt);
  return { until, writing, mostUntil: writing === null ? null : busyUntil };
}

/** What is being waited for, the shutdown first; its times on the clock of the state. */
export function servingOf({ shutdown, button: watch, termination, chains }: State): Serving[] {
  const all: Serving[] = [...chains.values()].map(({ rule, at, since, deadline }) => ({
    signal: rule.signal,
    waitsFor: waits[at],
    since,
    until: deadline,
    writing: null,
    mostUntil: null,
    next: 'none',
    button: null,
  }));
  if (shutdown === null) return all;
  const { rule, since } = shutdown;
  const button = buttonStateOf(watch.evidence);
  all.unshift(
    termination === null
      ? // A hook that has pressed the button, and stays to press it again, waits for the guest as well.
        {
          signal: rule.signal,
          waitsFor: shutdown.isPressed ? 'guest' : waits[shutdown.at],
          since,
          ...deadlineOf(shutdown),
          next: rule.defaultAction,
          button,
        }
      : {
          signal: rule.signal,
          waitsFor: termination.killed ? 'kill' : 'quit',
          since,
          until: termination.killed ? null : termination.killAt,
          writing: null,
          mostUntil: null,
          next: termination.killed ? 'none' : 'kill',
          button,
        },
  );
  return all;
}
