import { existsSync } from 'node:fs';
import type { State } from '../dispatch/state.js';
import { buttonStateOf } from '../outcome/button-evidence.js';
import { type Ending, endingOf } from '../outcome/ending.js';
import { guestSource, startsPaused } from '../qemu/argv.js';
import type { QemuExit } from '../qemu/qemu.js';
import type { RunContext, RunningQemu } from './context.js';
import type { SavedGuest } from './saved-guest.js';

/** A run of QEMU that is over. */
export interface FinishedRun {
  readonly exit: QemuExit;
  readonly ending: Ending;
  /** QEMU refused before its guest ran, and nothing had asked it to exit. */
  readonly hasFailed: boolean;
  /** QEMU may have refused the guest that it was to resume. */
  readonly refusedState: boolean;
  /** Why QEMU did not let a guest run that it had loaded; its state is kept. */
  readonly resumeFailure: string | null;
  /** Not even SIGKILL has killed QEMU: the kernel holds it. */
  readonly isStillThere: boolean;
  /** When QEMU exited, on the clock of `performance.now()`. */
  readonly exitedAt: number;
}

/** What is known of a run besides the state of the core. */
interface RunEnd {
  readonly exit: QemuExit;
  /** The monitor came up. */
  readonly started: boolean;
  readonly savedGuest: SavedGuest;
  readonly isStillThere: boolean;
  readonly exitedAt: number;
  /** The hook of the shutdown's signal, if it was stopped because its time was up. */
  readonly overdueHook: string | null;
}

/** How a run of QEMU ended. */
export function concludeRun(
  { config, stateFile }: RunContext,
  { qemu, saved }: RunningQemu,
  { shutdown, button, termination, evidence }: State,
  { exit, started, savedGuest, isStillThere, exitedAt, overdueHook }: RunEnd,
): FinishedRun {
  // One that exited by itself just as it was killed was not killed.
  const wasKilled = termination?.killed && qemu.wasKilled && (isStillThere || exit.code === null);
  const action = wasKilled ? 'kill' : (termination?.action ?? 'none');
  const ending = endingOf({
    ...exit,
    // An incomplete state is of no use.
    evidence: savedGuest.isSaving() ? { ...evidence, migrated: false } : evidence,
    started,
    bypassesUs: qemu.bypassesUs,
    waitsForCont: saved !== null || startsPaused(config.qemu) || guestSource(config.qemu) === '-incoming',
    action,
    cause: action === 'none' ? null : (termination?.cause ?? null),
    button: shutdown === null ? null : buttonStateOf(button.evidence),
    savedState: stateFile !== null && existsSync(stateFile.path),
    isStillThere,
    overdueHook,
  });
  const wasAsked = shutdown !== null || termination !== null;
  const ranNoGuest = !started || savedGuest.isResuming;
  const hasFailed = ranNoGuest && !wasAsked && (exit.signal !== null || (exit.code ?? 0) !== 0);
  return {
    exit,
    ending,
    hasFailed,
    refusedState: savedGuest.isRefused || (savedGuest.isResuming && hasFailed),
    resumeFailure: savedGuest.resumeFailure,
    isStillThere,
    exitedAt,
  };
}
