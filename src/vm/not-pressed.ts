import { buttonIsOthersMs } from '../dispatch/chain.js';
import type { Log } from '../log/log.js';
import { guestEnded, isExiting } from '../outcome/evidence.js';
import { isRunning } from '../outcome/run-state.js';
import { monitorCommandOf } from '../rules/rule.js';
import type { SignalName } from '../signals/names.js';
import { formatSeconds } from '../system/duration.js';
import type { ControlMonitor } from './control-monitor.js';
import type { Dispatcher } from './dispatcher.js';

/**
 * Tells of a hook that succeeded, and whose guest has not been asked to go as far as QEMU says: better now than at the
 * deadline.
 * @param error the last that QEMU has answered to the hook
 */
export async function warnIfNotPressed(
  log: Log,
  { dispatcher, monitor }: { readonly dispatcher: Dispatcher; readonly monitor: ControlMonitor },
  { signal, hook, error }: { readonly signal: SignalName; readonly hook: string; readonly error: string | null },
): Promise<void> {
  const { shutdown } = dispatcher.state;
  if (dispatcher.isClosed || shutdown === null || shutdown.rule.signal !== signal) return;
  // What QEMU had to say before its answer to the hook has been read then.
  await monitor.refreshRunState();
  const { evidence, termination, shutdown: now } = dispatcher.state;
  if (dispatcher.isClosed || now?.since !== shutdown.since || now.presses > 0 || termination !== null) return;
  if (isExiting(evidence) || guestEnded(evidence) || !isRunning(evidence.runState)) return;
  const { rule } = shutdown;
  const when =
    rule.timeoutMs === Infinity
      ? `${formatSeconds(buttonIsOthersMs(rule))} after the signal`
      : 'shortly before the deadline';
  const then =
    monitorCommandOf(rule) === null
      ? 'nothing else asks the guest to shut down before the deadline'
      : `qemu-trap presses it ${when} if the guest is still running`;
  log({
    event: 'not-pressed',
    level: error === null ? 'info' : 'warning',
    facts: { signal, hook, error },
    message: `${signal}: hook ${hook} did not press the power button${error === null ? '' : ` (QEMU's last error: ${error})`}; ${then}; unless the hook shuts the guest down in another way, end it with exec "$QEMU_TRAP_BUNDLED/powerdown" "$1"`,
  });
}
