import type { EndCause } from './end-cause.js';

/*
 * QEMU's run states (RunState of qapi/run-state.json of QEMU). Nothing outside src/outcome compares one with a string.
 */

interface Meaning {
  /** The guest has run at some time, here or where it came from. */
  readonly hasRun: boolean;
  /** No wait is of any use, and this is why. */
  readonly uselessToWait?: EndCause;
  /** What lets a guest that stands still go on. */
  readonly goesOnBy?: 'cont' | 'system_wakeup';
  /** For people, if QEMU's own word does not say enough. */
  readonly words?: string;
  /** For people, why a guest was cut off that did not go on any more. */
  readonly cutOff?: string;
}

/** Before QEMU was asked. */
export const unknownRunState = 'unknown';
/** Of a QEMU that has still to let its loaded guest go. */
export const loadingRunState = 'inmigrate';
/** Of a QEMU whose guest is written, and not yet safe. */
export const savingRunState = 'finish-migrate';

const meanings: Readonly<Record<string, Meaning>> = {
  running: { hasRun: true, words: 'running' },
  paused: { hasRun: true, goesOnBy: 'cont' },
  suspended: { hasRun: true, goesOnBy: 'system_wakeup' },
  'io-error': {
    hasRun: true,
    goesOnBy: 'cont',
    words: 'the guest stands still: QEMU cannot read or write its disk',
    cutOff:
      "it stood still, because QEMU could not read or write its disk; is the host's disk full, or a network disk away?",
  },
  watchdog: { hasRun: true, goesOnBy: 'cont' },
  debug: { hasRun: true, goesOnBy: 'cont' },
  // These two last if `savevm` or `loadvm` has failed.
  'save-vm': { hasRun: true, goesOnBy: 'cont' },
  'restore-vm': { hasRun: true, goesOnBy: 'cont' },
  'finish-migrate': {
    hasRun: true,
    words: 'the guest is being saved',
    cutOff: 'it stood still, because a hook was saving it',
  },
  colo: { hasRun: true },
  postmigrate: { hasRun: true, uselessToWait: 'migrated' },
  'guest-panicked': { hasRun: true, uselessToWait: 'panicked' },
  'internal-error': { hasRun: true, uselessToWait: 'internal-error' },
  shutdown: { hasRun: true, uselessToWait: 'powered-off' },
  prelaunch: { hasRun: false, uselessToWait: 'never-ran', words: 'the guest has not been started yet (-S)' },
  preconfig: { hasRun: false, uselessToWait: 'never-ran' },
  inmigrate: { hasRun: false, uselessToWait: 'incoming', words: 'the guest is being loaded' },
  [unknownRunState]: { hasRun: false, words: 'QEMU is starting' },
};

function meaningOf(state: string): Meaning {
  return Object.hasOwn(meanings, state) ? (meanings[state] as Meaning) : { hasRun: true };
}

/** The run states that QEMU can be in, as far as this table knows them. */
export const runStates: readonly string[] = Object.keys(meanings);

/** Why no wait is of any use in this run state; `null` if it is. */
export function uselessToWait(state: string): EndCause | null {
  return meaningOf(state).uselessToWait ?? null;
}

export function hasRun(state: string): boolean {
  return meaningOf(state).hasRun;
}

export function isRunning(state: string): boolean {
  return state === 'running';
}

/** It runs, or has put itself to sleep: some do as soon as they are up. */
export function isUp(state: string): boolean {
  return isRunning(state) || goesOnBy(state) === 'system_wakeup';
}

export function isUnknown(state: string): boolean {
  return state === unknownRunState;
}

/** The command after which a guest that stands still runs; `null` if it does not stand still, or nothing helps. */
export function goesOnBy(state: string): 'cont' | 'system_wakeup' | null {
  return meaningOf(state).goesOnBy ?? null;
}

/** QEMU waits for a migration, or loads one. */
export function isLoading(state: string): boolean {
  return state === loadingRunState;
}

/** Stopped, or loaded and not yet let go. */
export function isPaused(state: string): boolean {
  return state === 'paused';
}

/** The guest's memory is written, and the guest has not been continued here since. */
export function hasMigrated(state: string): boolean {
  return state === 'postmigrate';
}

/** A migration that was begun here has stopped the guest. */
export function isStoppedByMigration(state: string): boolean {
  return state === savingRunState || hasMigrated(state);
}

/** A migration has stopped the guest, and `cont` lets it go on here. */
export function isHeldByMigration(state: string): boolean {
  return isStoppedByMigration(state) || isPaused(state);
}

/** Why a guest was cut off in this run state; `null` if that says nothing. */
export function explainStandstill(state: string): string | null {
  return meaningOf(state).cutOff ?? null;
}

/** For people: `systemctl status`, say. */
export function describeRunState(state: string): string {
  return meaningOf(state).words ?? `the guest is ${state}`;
}
