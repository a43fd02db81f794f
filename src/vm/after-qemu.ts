import type { Log } from '../log/log.js';
import type { SignalName } from '../signals/names.js';
import { onTrapped } from '../signals/trap.js';
import { hearsCtrlC } from '../system/terminal.js';

/**
 * Tells of the signals that come when QEMU has exited, each once. There is no guest for them any more; those that force
 * end the wait for the last hooks.
 * @returns what ends that
 */
export function onSignalsAfterQemu(log: Log, force: () => void): () => void {
  // Signals that came before were for QEMU.
  const since = performance.now();
  const told = new Set<SignalName>();
  return onTrapped(({ signal, at }) => {
    if (at < since || told.has(signal)) return;
    told.add(signal);
    const isForce = signal === 'SIGQUIT' || (signal === 'SIGINT' && hearsCtrlC());
    log({
      event: 'signal-after-qemu',
      level: 'info',
      message: `${signal}: QEMU has exited already; ${isForce ? 'stopping the hooks that still run' : 'the hooks that still run have their time (SIGQUIT stops them)'}`,
      facts: { signal },
    });
    if (isForce) force();
  });
}
