import { buttonStateOf } from '../outcome/button-evidence.js';
import { describeButton } from '../outcome/button-words.js';
import { describeWriting } from '../outcome/disk-activity.js';
import { describeCause } from '../outcome/end-cause.js';
import { describeRunState } from '../outcome/run-state.js';
import { type State, isFinal } from '../dispatch/state.js';
import { servingOf, untilGuestGoes } from '../status/progress.js';

/** A time of day that is further away wants its date. */
const dayMs = 86_400_000;

/**
 * What `systemctl status` is to show: how the VM is, in words for people.
 * @param now on the clock of the state, in milliseconds
 */
export function describeState(state: State, now: number): string {
  const { shutdown, button: watch, termination, evidence } = state;
  // A time of day stays true until the next status; a number of seconds does not.
  const left = (until: number): string => {
    const time = new Date(Date.now() + until - now);
    const isToday = until - now < dayMs;
    return `at most until ${isToday ? '' : `${time.toDateString()} `}${time.toTimeString().slice(0, 8)}`;
  };
  if (termination !== null) {
    const because = describeCause(termination.cause, shutdown?.rule.signal ?? null);
    return termination.killed
      ? `killing QEMU with SIGKILL (${because})`
      : `waiting for QEMU to ${termination.action === 'none' ? 'exit' : 'quit'} (${because}), ${left(termination.killAt)}`;
  }
  const [serving] = servingOf(state);
  if (shutdown !== null && serving !== undefined) {
    const button = buttonStateOf(watch.evidence);
    // To tell a service manager takes a process: what a press comes to in a moment is not told.
    const known = button === 'not-listening' || button === 'no-acpi' ? `; ${describeButton(button)}` : '';
    const { signal, writing } = serving;
    const until = serving.mostUntil ?? serving.until;
    const still = writing === null ? '' : `${describeWriting(writing)}, `;
    return `shutting down on ${signal}, ${still}${until === null ? untilGuestGoes : left(until)}${known}`;
  }
  return describeRunState(evidence.runState);
}

/**
 * True once a shutdown cannot be called off any more. Before that a hook may still say "not now" (status 75),
 * and a manager that was told STOPPING=1 would end the VM all the same.
 */
export function isUnderWay({ shutdown, termination }: State): boolean {
  // A QEMU that exits by itself may still be brought back.
  if (termination !== null) return isFinal(termination);
  return shutdown !== null && (shutdown.presses > 0 || (shutdown.at !== 'start' && shutdown.at !== 'hook'));
}
