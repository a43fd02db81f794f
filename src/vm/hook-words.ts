import type { Log } from '../log/log.js';
import { guestEnded, isExiting } from '../outcome/evidence.js';
import type { HookOutcome } from '../outcome/hook-outcome.js';
import { isRunning } from '../outcome/run-state.js';
import type { SignalName } from '../signals/names.js';
import { formatSeconds } from '../system/duration.js';
import type { ControlMonitor } from './control-monitor.js';
import type { Dispatcher } from './dispatcher.js';

/*
 * What the log says of the hooks of signals.
 */

/** @param ms how long it ran, in milliseconds; `null` if it did not */
export function hookFailed(
  log: Log,
  signal: SignalName,
  hook: string,
  why: string,
  ms: number | null = null,
): HookOutcome {
  log({
    event: 'hook-end',
    level: 'warning',
    message: `${signal}: hook ${hook} ${why}`,
    facts: { signal, hook, outcome: 'failed', why, ms },
  });
  return { kind: 'failed', why };
}

/** How one file of a hook ended. */
interface HookEnd {
  readonly signal: SignalName;
  readonly hook: string;
  readonly outcome: HookOutcome;
  /** How long it ran, in milliseconds. */
  readonly ms: number;
  /** `undefined` if it could not be started. */
  readonly pid: number | undefined;
  /** It was told to end. */
  readonly wasTold: boolean;
  readonly isGuestOff: boolean;
}

export function tellHookEnd(log: Log, { signal, hook, outcome, ms, pid, wasTold, isGuestOff }: HookEnd): void {
  if (outcome.kind === 'failed' && !wasTold)
    return void hookFailed(log, signal, hook, outcome.why, pid === undefined ? null : ms);
  // As it is with one that stays to press again, and ends with its guest.
  const how = outcome.kind === 'failed' ? 'ended' : outcome.kind;
  const words = { done: 'succeeded', 'not-now': 'said "not now"', ended: 'was stopped' }[how];
  const because = isGuestOff ? ': the guest has shut down' : ': its time was up, or QEMU has exited';
  log({
    event: 'hook-end',
    level: 'info',
    message: `${signal}: hook ${hook} ${words} after ${formatSeconds(ms)}${how === 'ended' ? because : ''}`,
    facts: { signal, hook, outcome: how, ms },
  });
}

/**
 * Tells of a hook that ended well, and whose guest has not been asked to go as far as QEMU says: better now than at the
 * deadline.
 * @param error the last that QEMU has answered to the hook
 */
export async function warnIfNotPressed(
  log: Log,
  { dispatcher, monitor }: { readonly dispatcher: Dispatcher; readonly monitor: ControlMonitor },
  { signal, hook, error }: { readonly signal: SignalName; readonly hook: string; readonly error: string | null },
): Promise<void> {
  const { stop } = dispatcher.state;
  if (dispatcher.isClosed || stop === null || stop.rule.signal !== signal) return;
  // What QEMU had to say before its answer to the hook has been read then.
  await monitor.refreshRunState();
  const { evidence, end, stop: now } = dispatcher.state;
  if (dispatcher.isClosed || now?.since !== stop.since || now.powerdown || end !== null) return;
  if (isExiting(evidence) || guestEnded(evidence) || !isRunning(evidence.runState)) return;
  const then =
    stop.rule.monitorCommand === null
      ? 'nothing else asks the guest to shut down before the deadline'
      : 'qemu-trap presses it shortly before the deadline if the guest is still running';
  log({
    event: 'not-pressed',
    level: error === null ? 'info' : 'warning',
    facts: { signal, hook, error },
    message: `${signal}: hook ${hook} did not press the power button${error === null ? '' : ` (QEMU's last error: ${error})`}; ${then}`,
  });
}
