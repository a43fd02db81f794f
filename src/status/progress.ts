import { type ButtonState, buttonStateOf } from '../outcome/button-evidence.js';
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

/** What is waited for, in words that follow "waiting". */
export function describeWait({ waitsFor, until }: Pick<Serving, 'waitsFor' | 'until'>): string {
  if (waitsFor === 'guest' && until === null) return 'until the guest shuts down';
  return waitsInWords[waitsFor];
}

/** What is being waited for, the shutdown first; its times on the clock of the state. */
export function servingOf({ shutdown, button: watch, termination, chains }: State): Serving[] {
  const all: Serving[] = [...chains.values()].map(({ rule, at, since, deadline }) => ({
    signal: rule.signal,
    waitsFor: waits[at],
    since,
    until: deadline,
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
          until: shutdown.deadline === Infinity ? null : shutdown.deadline,
          next: rule.defaultAction,
          button,
        }
      : {
          signal: rule.signal,
          waitsFor: termination.killed ? 'kill' : 'quit',
          since,
          until: termination.killed ? null : termination.killAt,
          next: termination.killed ? 'none' : 'kill',
          button,
        },
  );
  return all;
}
