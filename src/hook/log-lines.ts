import type { Log } from '../log/log.js';
import type { HookOutcome } from '../outcome/hook-outcome.js';
import type { SignalName } from '../signals/names.js';
import { formatSeconds } from '../system/duration.js';

/*
 * What the log says of hooks.
 */

/** What a hook is run for: a signal, or an occasion of the VM's life (`start`, `end`). */
export type HookSubject = { readonly signal: SignalName } | { readonly occasion: string };

/** Why a hook was stopped before it exited. */
export type StopReason = 'guest-off' | 'qemu-exits' | 'timeout' | 'signal';

const stopReasons: Readonly<Record<StopReason, string>> = {
  'guest-off': 'the guest has shut down',
  'qemu-exits': 'QEMU exits',
  timeout: 'its time was up',
  signal: 'a signal came',
};

/** The name of what a hook is run for: its first argument. */
export function nameOf(subject: HookSubject): string {
  return 'signal' in subject ? subject.signal : subject.occasion;
}

const prefixOf = (subject: HookSubject): string => ('signal' in subject ? `${subject.signal}: ` : '');

export function logHookStart(log: Log, subject: HookSubject, hook: string, pid: number): void {
  log({
    event: 'hook-start',
    level: 'info',
    message: `${prefixOf(subject)}running hook ${hook} (pid ${pid})`,
    facts: { ...subject, hook, pid },
  });
}

/** How one file of a hook ended. */
export interface HookEnd {
  readonly subject: HookSubject;
  readonly hook: string;
  readonly outcome: HookOutcome;
  /** How long it ran, in milliseconds; `null` if it did not. */
  readonly ms: number | null;
  /** Why it was stopped; `null` if it was not. */
  readonly stopReason: StopReason | null;
  /** The time that it had and did not keep to, which is a failure, in milliseconds; `null` if it kept to it. */
  readonly overdueMs: number | null;
}

/** @returns what counts as the outcome */
export function logHookEnd(log: Log, { subject, hook, outcome, ms, stopReason, overdueMs }: HookEnd): HookOutcome {
  const after = ms === null ? '' : ` after ${formatSeconds(ms)}`;
  const tell = (level: 'info' | 'warning', words: string, facts: object): void =>
    log({
      event: 'hook-end',
      level,
      message: `${prefixOf(subject)}hook ${hook} ${words}`,
      facts: { ...subject, hook, ...facts, ms },
    });
  const fail = (why: string): HookOutcome => {
    tell('warning', why, { outcome: 'failed', why });
    return { kind: 'failed', why };
  };
  if (overdueMs !== null) return fail(`did not exit within ${formatSeconds(overdueMs)}`);
  switch (outcome.kind) {
    case 'failed': {
      if (stopReason === null) return fail(outcome.why);
      // One that stays to press again, say, is stopped as soon as the guest has shut down.
      const why = `${ms === null ? 'was not run' : `was stopped${after}`}: ${stopReasons[stopReason]}`;
      tell(stopReason === 'timeout' ? 'warning' : 'info', why, { outcome: 'ended' });
      return { kind: 'failed', why };
    }
    case 'done':
      tell('info', `succeeded${after}`, { outcome: 'done' });
      return outcome;
    case 'not-now':
      tell('info', `said "not now"${after}`, { outcome: 'not-now' });
      return outcome;
  }
}
