import type { Log } from '../log/log.js';
import type { Config } from '../options/command.js';
import { guestSource } from '../qemu/argv.js';
import { UsageError } from '../system/usage-error.js';
import { type SavedState, type StateFile, openSavedState, setAside } from './saved-state.js';

/** The guest that was saved under this VM's name, if it can be resumed; if not, it is set aside. */
export function findSavedState(config: Config, file: StateFile | null, log: Log): SavedState | null {
  if (file === null) return null;
  const saved = openSavedState(file);
  if (saved === null) return null;
  const source = guestSource(config.qemu);
  const fault =
    'fault' in saved ? saved.fault : source === null ? null : `QEMU's own options load a guest already (${source})`;
  if (fault === null) return saved as SavedState;
  setStateAside(file, fault, log);
  return null;
}

export function setStateAside(file: StateFile, why: string, log: Log): void {
  try {
    const aside = setAside(file);
    log({
      event: 'state-refused',
      level: 'warning',
      message: `saved state ${file.path}: ${why}; moved it to ${aside}; the VM boots normally`,
      facts: { path: file.path, aside },
    });
  } catch (error) {
    // A start that resumed it later would do so on disks that do not fit it any more.
    throw new UsageError(
      `saved state ${file.path}: ${why}, and it cannot be moved aside (${(error as NodeJS.ErrnoException).code}): remove it, or name another directory with --state-dir`,
    );
  }
}
