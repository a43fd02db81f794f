import type { HookDirs, HookFile } from '../hook/find.js';
import type { SignalName } from '../signals/names.js';
import type { DefaultAction } from './builtin.js';
import type { SignalSpec } from './spec.js';

/** What a signal does: the links of its chain in their order, and what comes when they have not ended QEMU. */
export interface Rule {
  readonly signal: SignalName;
  readonly source: 'option' | 'hooks directory' | 'built-in';
  readonly script: HookFile | null;
  readonly monitorCommand: string | null;
  /** From the signal to the default action, in milliseconds. */
  readonly timeoutMs: number;
  readonly defaultAction: DefaultAction;
}

export interface RuleBook {
  readonly specs: ReadonlyMap<SignalName, SignalSpec>;
  readonly dirs: HookDirs;
  readonly timeoutMs: number;
}

/** True where nothing is to be done on the signal at all. */
export function isIgnored(rule: Rule): boolean {
  return rule.script === null && rule.monitorCommand === null && rule.defaultAction === 'none';
}
