import { existsSync } from 'node:fs';
import type { FreezeGuard } from '../guest-agent/freeze-guard.js';
import { hasMigrated, isPaused } from '../outcome/run-state.js';
import { QmpError } from '../qmp/messages.js';
import { formatSeconds } from '../system/duration.js';
import type { Adoption, RunContext, RunningQemu } from './context.js';
import type { ControlMonitor } from './control-monitor.js';
import type { SavedGuest } from './saved-guest.js';

export function tellAdoption(
  context: RunContext,
  { qemu: { pid } }: RunningQemu,
  adoption: Adoption,
  guest: string,
): void {
  const { ageMs, isOther } = adoption;
  context.log({
    event: 'takeover',
    level: 'info',
    facts: { pid, guest, age_ms: Math.round(ageMs), other_command: isOther },
    message: `${context.config.attach === null ? 'took over' : 'attached to'} QEMU (pid ${pid}, up for ${formatSeconds(ageMs)}; the guest is ${guest})${isOther ? '; its command line differs from the one given now, which takes effect at the next start of QEMU' : ''}`,
  });
}

/** What an inheritance has to do with. */
interface Heir {
  readonly context: RunContext;
  readonly monitor: ControlMonitor;
  readonly savedGuest: SavedGuest;
  readonly freezeGuard: FreezeGuard;
  /** Nothing of this qemu-trap's own has begun yet. */
  readonly isUntouched: () => boolean;
}

/**
 * Undoes what hooks of a qemu-trap that was killed have left half done.
 * @param runState of the guest, when it was taken over
 * @throws {MonitorClosed}
 */
export async function undoLeftovers({ cleared }: Adoption, runState: string, heir: Heir): Promise<void> {
  const { context, monitor, savedGuest, freezeGuard } = heir;
  const { log, stateFile } = context;
  if (isPaused(runState) && savedGuest.wasToBeLetGo()) {
    await savedGuest.letGo(monitor).catch((error: unknown) => {
      if (!(error instanceof QmpError)) throw error;
      const message = `the guest that was being resumed cannot continue: ${error.desc}`;
      log({ event: 'save-stuck', level: 'error', message });
    });
  }
  // The state is under its name, and QEMU was to go: a guest that went on now would spoil it.
  if (hasMigrated(runState) && stateFile !== null && existsSync(stateFile.path)) {
    log({
      event: 'saved',
      level: 'info',
      message: `a qemu-trap that was killed had saved the guest (${stateFile.path}); telling QEMU to quit`,
      facts: { path: stateFile.path },
    });
    return void (await monitor.client.execute('quit'));
  }
  const wasSaving = savedGuest.isSaving();
  await cleared;
  // What has begun meanwhile is a hook's of this qemu-trap, and that one's to end.
  if (!heir.isUntouched()) return;
  freezeGuard.hookEnded('the qemu-trap whose hook froze it was killed', 0);
  if (wasSaving && savedGuest.isSaving()) await savedGuest.abandonSave('of a killed qemu-trap', monitor);
}
