import { knownEvents } from '../hook/event-names.js';
import { meantHook } from '../hook/meant-name.js';
import { parseSignal } from '../signals/names.js';
import { UsageError } from '../system/usage-error.js';

/**
 * What is wrong with a name that is no signal's, no event's, and no other hook's.
 * @param option what it was given to
 */
export function unknownHook(option: string, asked: string): UsageError {
  const parsed = parseSignal(asked);
  const meant = meantHook(asked.replace(/\.d$/, ''), knownEvents);
  if ('error' in parsed && parsed.isSignal && meant?.isSame !== true)
    return new UsageError(`${option} ${asked}: ${parsed.error}`);
  if (meant === null)
    return new UsageError(
      `${option} ${asked}: no hook has that name: write a signal (SIGTERM), an event of QEMU's (GUEST_PANICKED), start, ready or end`,
    );
  const { name, orElse } = meant;
  if (asked === name)
    return new UsageError(
      `${option} ${asked}: only a rule that names it runs it: write --try SIGHUP --signal SIGHUP,script=${asked}${orElse === null ? '' : `, or ${option} ${orElse}`}`,
    );
  return new UsageError(
    `${option} ${asked}: no hook has that name: write ${name}${orElse === null ? '' : `, or ${orElse}`}`,
  );
}
