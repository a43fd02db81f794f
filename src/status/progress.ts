import type { DefaultAction } from '../rules/builtin.js';
import type { SignalName } from '../signals/names.js';
import type { State } from '../dispatch/state.js';

export interface Serving {
  readonly signal: SignalName;
  readonly waitsFor: 'qemu' | 'hook' | 'guest' | 'quit' | 'kill';
  readonly since: number;
  /** `null`: for as long as it takes. */
  readonly until: number | null;
  /** What comes then. */
  readonly next: DefaultAction;
}

const waits = { start: 'qemu', hook: 'hook', command: 'guest', 'power-button': 'guest', guest: 'guest' } as const;

/** What is being waited for, the shutdown first; its times on the clock of the state. */
export function servingOf({ shutdown, termination, chains }: State): Serving[] {
  const all: Serving[] = [...chains.values()].map(({ rule, at, since, deadline }) => ({
    signal: rule.signal,
    waitsFor: waits[at],
    since,
    until: deadline,
    next: 'none',
  }));
  if (shutdown === null) return all;
  const { rule, since } = shutdown;
  all.unshift(
    termination === null
      ? // A hook that has pressed the button, and stays to press it again, waits for the guest as well.
        {
          signal: rule.signal,
          waitsFor: shutdown.isPressed ? 'guest' : waits[shutdown.at],
          since,
          until: shutdown.deadline,
          next: rule.defaultAction,
        }
      : {
          signal: rule.signal,
          waitsFor: termination.killed ? 'kill' : 'quit',
          since,
          until: termination.killed ? null : termination.killAt,
          next: termination.killed ? 'none' : 'kill',
        },
  );
  return all;
}
