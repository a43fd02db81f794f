import { textOf, type QmpEvent } from '../qmp/messages.js';
import { hasMigrated, hasRun, isLoading, isUnknown, unknownRunState } from './run-state.js';

/*
 * What QEMU has said of its guest, as far as it tells how it ends.
 */

/** An event of QEMU (qapi/run-state.json, qapi/migration.json of QEMU) that counts here. */
export type QemuEvent =
  | { readonly event: 'SHUTDOWN'; readonly reason: string; readonly byGuest: boolean }
  | { readonly event: 'RESET'; readonly byGuest: boolean }
  | { readonly event: 'STOP' }
  | { readonly event: 'RESUME' }
  | { readonly event: 'GUEST_PANICKED'; readonly action: string }
  | { readonly event: 'WATCHDOG'; readonly action: string }
  | { readonly event: 'MIGRATION'; readonly status: string };

/** What an event of a monitor says here; `null` if it says nothing of it. */
export function readEvent({ event, data }: QmpEvent): QemuEvent | null {
  const word = (name: string): string => textOf(data[name], '');
  switch (event) {
    case 'SHUTDOWN':
      return { event, reason: word('reason'), byGuest: data['guest'] === true };
    case 'RESET':
      return { event, byGuest: data['guest'] === true };
    case 'STOP':
    case 'RESUME':
      return { event };
    case 'GUEST_PANICKED':
    case 'WATCHDOG':
      return { event, action: word('action') };
    case 'MIGRATION':
      return { event, status: word('status') };
    default:
      return null;
  }
}

export interface Evidence {
  /** QEMU's last run state, or {@link unknownRunState}. */
  readonly runState: string;
  /** A guest has run, be it before it was migrated here. */
  readonly guestRan: boolean;
  /** The first SHUTDOWN since the guest last ran; those that follow it are QEMU's own affair. */
  readonly shutdown: { readonly reason: string; readonly byGuest: boolean } | null;
  /** STOP has come after {@link Evidence.shutdown}: QEMU stays. */
  readonly stays: boolean;
  /** The guest has panicked, and QEMU does not let it run on. */
  readonly panicked: boolean;
  /** QEMU exits because of that: SHUTDOWN follows. */
  readonly exitsOnPanic: boolean;
  /** The action of a WATCHDOG that ends QEMU or the guest. */
  readonly watchdog: 'poweroff' | 'reset' | null;
  /** The guest's memory has been written for somewhere else, and it was not continued since. */
  readonly migrated: boolean;
}

export const noEvidence: Evidence = {
  runState: unknownRunState,
  guestRan: false,
  shutdown: null,
  stays: false,
  panicked: false,
  exitsOnPanic: false,
  watchdog: null,
  migrated: false,
};

/** QEMU answered `query-status` with this run state. */
export function withRunState(evidence: Evidence, runState: string): Evidence {
  // What could not be asked leaves what is known.
  if (isUnknown(runState)) return evidence;
  // An answer may be older than an event that came before it: only an event takes back what an event has told.
  const known = {
    ...evidence,
    runState,
    guestRan: evidence.guestRan || hasRun(runState),
    migrated: evidence.migrated || hasMigrated(runState),
  };
  // What happened before this qemu-trap was there, the state that it led to tells.
  if (runState === 'shutdown' && evidence.shutdown === null)
    return { ...known, shutdown: { reason: 'guest-shutdown', byGuest: true }, stays: true };
  return runState === 'guest-panicked' ? { ...known, panicked: true } : known;
}

/** A watchdog that powers off counts whatever comes after it; one that resets, if the guest's reset comes after it. */
function laterWatchdog({ watchdog, shutdown }: Evidence, action: string): Evidence['watchdog'] {
  if (action === 'poweroff') return 'poweroff';
  return action === 'reset' && shutdown === null ? (watchdog ?? 'reset') : watchdog;
}

/** QEMU told of this event. */
export function withEvent(evidence: Evidence, event: QemuEvent): Evidence {
  switch (event.event) {
    case 'SHUTDOWN': {
      const { reason, byGuest } = event;
      return {
        ...evidence,
        guestRan: evidence.guestRan || byGuest,
        shutdown: evidence.shutdown ?? { reason, byGuest },
        stays: false,
        exitsOnPanic: false,
      };
    }
    case 'STOP':
      return { ...evidence, stays: evidence.shutdown !== null };
    case 'RESUME':
      return {
        ...evidence,
        guestRan: true,
        shutdown: null,
        stays: false,
        panicked: false,
        exitsOnPanic: false,
        watchdog: null,
        migrated: false,
      };
    case 'RESET':
      // A watchdog resets the guest, and under -no-reboot a SHUTDOWN follows instead of a RESET.
      return { ...evidence, shutdown: null, stays: false, panicked: false, exitsOnPanic: false, watchdog: null };
    case 'GUEST_PANICKED':
      return {
        ...evidence,
        guestRan: true,
        panicked: evidence.panicked || event.action !== 'run',
        exitsOnPanic: evidence.exitsOnPanic || event.action === 'poweroff',
      };
    case 'WATCHDOG':
      return { ...evidence, guestRan: true, watchdog: laterWatchdog(evidence, event.action) };
    case 'MIGRATION':
      // The same event ends an incoming migration.
      return {
        ...evidence,
        migrated: evidence.migrated || (event.status === 'completed' && !isLoading(evidence.runState)),
      };
  }
}

/**
 * QEMU has said that it exits, and not since that it stays: nothing may be said to it, for QEMU 10.0 crashes on what its
 * monitors' thread reads while the main thread takes them down.
 */
export function isExiting({ shutdown, stays, exitsOnPanic }: Evidence): boolean {
  return exitsOnPanic || (shutdown !== null && !stays);
}

/** The guest's own end, as QEMU told it: it powered off or reset itself. */
export function guestEnded({ shutdown }: Evidence): boolean {
  return shutdown?.byGuest === true && (shutdown.reason === 'guest-shutdown' || shutdown.reason === 'guest-reset');
}
