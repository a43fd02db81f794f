import type { SignalName } from '../signals/names.js';

/** What ends QEMU when the chain of a rule has not: see {@link BuiltinRule}. */
export type DefaultAction = 'quit' | 'kill' | 'none';

/** What a signal does if the user says nothing of it. */
interface BuiltinRule {
  readonly script: string | null;
  readonly monitorCommand: string | null;
  readonly defaultAction: DefaultAction;
  readonly why: string;
}

const powerdown = { script: 'powerdown', monitorCommand: 'system_powerdown', defaultAction: 'quit' } as const;

const ignored: BuiltinRule = {
  script: null,
  monitorCommand: null,
  defaultAction: 'none',
  why: 'nothing was asked of it',
};

/** The built-in rules; a signal that has no row is logged and ignored. */
export const builtinRules: Readonly<Partial<Record<SignalName, BuiltinRule>>> = {
  SIGTERM: { ...powerdown, why: 'service managers and a host shutdown stop a service with it' },
  SIGINT: { ...powerdown, why: 'Ctrl-C; also the stop signal of Nomad' },
  SIGHUP: { ...powerdown, why: 'the terminal has closed; a bare QEMU exits on it too' },
  SIGPWR: { ...powerdown, why: 'power is failing; init and container engines pass it on' },
  SIGQUIT: {
    script: null,
    monitorCommand: null,
    defaultAction: 'quit',
    why: 'stop now, without waiting for the guest',
  },
};

export function builtinRule(signal: SignalName): BuiltinRule {
  return builtinRules[signal] ?? ignored;
}
