import { goesOnBy, isRunning } from '../outcome/run-state.js';
import { gapAfter } from './press-gaps.js';
import type { Shutdown, Step } from './state.js';

export function press(s: Step, shutdown: Shutdown): void {
  const { pressGaps } = s.state.limits;
  // A hook has pressed it, and the user wants one press only.
  const isOnceTooOften = pressGaps.length === 0 && shutdown.isPressed;
  if (!isOnceTooOften) {
    s.effects.push({ do: 'press', signal: shutdown.rule.signal, isRunning: isRunning(s.state.evidence.runState) });
    shutdown.isPressing = true;
  }
  shutdown.presses++;
  shutdown.nextPressAt = s.now + gapAfter(pressGaps, shutdown.presses);
}

/** POWERDOWN came: from the first press on, whoever made it, qemu-trap presses again when it is time. */
export function onPressed(s: Step, shutdown: Shutdown): void {
  const isFirst = !shutdown.isPressed;
  shutdown.isPressed = true;
  if (!shutdown.isPressing) {
    shutdown.presses++;
    shutdown.nextPressAt = s.now + gapAfter(s.state.limits.pressGaps, shutdown.presses);
  }
  shutdown.isPressing = false;
  if (isFirst) letGuestGoOn(s, shutdown);
}

/** A guest that stands still does not hear its button. */
export function letGuestGoOn(s: Step, shutdown: Shutdown): void {
  if (goesOnBy(s.state.evidence.runState) !== null) s.effects.push({ do: 'let-go-on', signal: shutdown.rule.signal });
}
