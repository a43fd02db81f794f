import { knownEvents } from '../hook/event-names.js';
import { bundledHooks } from '../hook/find.js';
import { meantHook } from '../hook/meant-name.js';
import { parseSignal } from '../signals/names.js';
import { UsageError } from '../system/usage-error.js';

/** The signals that bundled hooks are for; the others leave the guest as it is. */
const usualSignals: Readonly<Record<string, string>> = {
  powerdown: 'SIGTERM',
  'guest-shutdown': 'SIGTERM',
  save: 'SIGTERM',
  reset: 'SIGHUP',
  reboot: 'SIGHUP',
};

function isBundled(option: '--try' | '--new-hook', asked: string): UsageError {
  const hook = asked.toLowerCase();
  const signal = usualSignals[hook] ?? 'SIGUSR1';
  const rule = `--signal ${signal},script=${hook}`;
  const fix =
    option === '--try'
      ? `--try ${signal} ${rule}`
      : `${rule} to use it, or --new-hook ${signal} for a hook of your own`;
  const event = asked.toUpperCase();
  const orEvent = knownEvents.includes(event) ? `, or ${option} ${event} (QEMU's event)` : '';
  return new UsageError(`${option} ${asked}: only a rule that names it runs this bundled hook: write ${fix}${orEvent}`);
}

/**
 * What is wrong with a name that is no signal's, no event's, and no other hook's.
 * @param option what it was given to
 */
export function unknownHook(option: '--try' | '--new-hook', asked: string): UsageError {
  if (bundledHooks.includes(asked.toLowerCase())) return isBundled(option, asked);
  const parsed = parseSignal(asked);
  const meant = meantHook(asked.replace(/\.d$/, ''), knownEvents);
  if ('error' in parsed && parsed.isSignal && meant?.isSame !== true)
    return new UsageError(`${option} ${asked}: ${parsed.error}`);
  if (meant === null)
    return new UsageError(
      `${option} ${asked}: no hook has that name: write a signal (SIGTERM), an event of QEMU's (GUEST_PANICKED), start, ready or end`,
    );
  const { name, orElse } = meant;
  return new UsageError(
    `${option} ${asked}: no hook has that name: write ${name}${orElse === null ? '' : `, or ${orElse}`}`,
  );
}
