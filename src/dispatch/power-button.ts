import { goesOnBy, isRunning } from '../outcome/run-state.js';
import { gapAfter } from './press-gaps.js';
import type { Shutdown, Step } from './state.js';

export function press(s: Step, stop: Shutdown): void {
  const { pressGaps } = s.state.limits;
  const cancels = pressGaps.length === 0 && stop.powerdown;
  if (!cancels) {
    s.actions.push({ do: 'press', signal: stop.rule.signal, isRunning: isRunning(s.state.evidence.runState) });
    stop.isPressing = true;
  }
  stop.presses++;
  stop.nextPressAt = s.now + gapAfter(pressGaps, stop.presses);
}

/** The button was pressed, by whomever: from its first press on, pressing it is qemu-trap's. */
export function onPressed(s: Step, stop: Shutdown): void {
  const isFirst = !stop.powerdown;
  stop.powerdown = true;
  if (!stop.isPressing) {
    stop.presses++;
    stop.nextPressAt = s.now + gapAfter(s.state.limits.pressGaps, stop.presses);
  }
  stop.isPressing = false;
  if (isFirst) letGuestGoOn(s, stop);
}

/** A guest that stands still does not hear its button. */
export function letGuestGoOn(s: Step, stop: Shutdown): void {
  if (goesOnBy(s.state.evidence.runState) !== null) s.actions.push({ do: 'let-go-on', signal: stop.rule.signal });
}
