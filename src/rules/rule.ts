import type { HookDirs, HookFile } from '../hook/find.js';
import type { SignalName } from '../signals/names.js';
import type { DefaultAction } from './builtin.js';
import type { SignalSpec } from './spec.js';

interface HookStage {
  readonly kind: 'hook';
  readonly script: HookFile;
}

/** A stage that qemu-trap carries out itself, on its control monitor. */
export type MonitorStage =
  | { readonly kind: 'command'; readonly line: string }
  /** One press of the power button, of a guest that is made to hear it first. */
  | { readonly kind: 'power-button' };

export type Stage = HookStage | MonitorStage;

/** What a signal does: its stages, and the default action if they have not stopped QEMU in time. */
export interface Rule {
  readonly signal: SignalName;
  readonly source: 'option' | 'hooks directory' | 'built-in';
  /** In the order hook, command, power button, each at most once. */
  readonly stages: readonly Stage[];
  /** From the signal to the default action, in milliseconds; Infinity: the guest is never forced. */
  readonly timeoutMs: number;
  readonly defaultAction: DefaultAction;
}

export interface RuleBook {
  readonly specs: ReadonlyMap<SignalName, SignalSpec>;
  readonly dirs: HookDirs;
  readonly timeoutMs: number;
}

/** True if the signal does nothing at all. */
export function isIgnored(rule: Rule): boolean {
  return rule.stages.length === 0 && rule.defaultAction === 'none';
}

/** The hook of a rule, or `null`. */
export function scriptOf({ stages }: Rule): HookFile | null {
  const [first] = stages;
  return first?.kind === 'hook' ? first.script : null;
}

/** The command of QMP that presses the power button. */
export const powerButtonCommand = 'system_powerdown';

/** A stage as `monitorcommand=` names it. */
export function commandLine(stage: MonitorStage): string {
  return stage.kind === 'command' ? stage.line : powerButtonCommand;
}

/** The first stage after the hook as `monitorcommand=` names it, or `null`. */
export function monitorCommandOf({ stages }: Rule): string | null {
  for (const stage of stages) if (stage.kind !== 'hook') return commandLine(stage);
  return null;
}
