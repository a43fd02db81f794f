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

const waits = { start: 'qemu', script: 'hook', command: 'guest', wait: 'guest' } as const;

/** What is being waited for, the shutdown first; its times on the clock of the state. */
export function servingOf({ stop, end, runs }: State): Serving[] {
  const all: Serving[] = [...runs.values()].map((run) => ({
    signal: run.rule.signal,
    waitsFor: waits[run.link],
    since: run.since,
    until: run.deadline,
    next: 'none',
  }));
  if (stop === null) return all;
  const { since } = stop;
  all.unshift(
    end === null
      ? // A hook that has pressed the button, and stays to press it again, waits for the guest as well.
        {
          signal: stop.rule.signal,
          waitsFor: stop.powerdown ? 'guest' : waits[stop.link],
          since,
          until: stop.deadline,
          next: stop.rule.defaultAction,
        }
      : {
          signal: stop.rule.signal,
          waitsFor: end.killed ? 'kill' : 'quit',
          since,
          until: end.killed ? null : end.killAt,
          next: end.killed ? 'none' : 'kill',
        },
  );
  return all;
}
