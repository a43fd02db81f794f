import {
  type ButtonPlace,
  type ButtonReading,
  buttonStateOf,
  hasBegunToListen,
  isUselessToPress,
  withNewGuest,
  withPlace,
  withPress,
  withReading,
} from '../outcome/button-evidence.js';
import { isRunning } from '../outcome/run-state.js';
import { notice } from './notices.js';
import { gapAfter } from './press-gaps.js';
import { type ButtonWatch, type Shutdown, type Step, mayLetGoOn, mayReadButton } from './state.js';

/*
 * From one reading of the registers to the next. QEMU 10.0 may crash on what it has still to read when it exits. So few
 * readings are made of a guest that may power off any moment: after a press, and while it has still to take one.
 */
const readEveryMs = 125;
const readAfterPressMs = 500;
const readPendingEveryMs = 1_000;
/** From one time that a guest is let go on to the next. */
const goesOnEveryMs = 1_000;
/** One that stands still again so soon after that does so for the same reason. */
const goesOnAgainMs = 5_000;
/** The least from one press to the next, if the user has not given it. */
const shortestGapMs = 1_000;

export function press(s: Step, shutdown: Shutdown): void {
  const { pressGaps } = s.state.limits;
  // A hook has pressed it, and the user wants one press only.
  const isOnceTooOften = pressGaps.length === 0 && shutdown.isPressed;
  if (!isOnceTooOften) {
    s.effects.push({ do: 'press', signal: shutdown.rule.signal, isRunning: isRunning(s.state.evidence.runState) });
    shutdown.isPressing = true;
  }
  shutdown.presses++;
  shutdown.nextPressAt = s.now + nextGap(s, shutdown);
}

/**
 * A kernel listens for some time before the service that acts on the button does. So a guest that may have begun to listen
 * just now is pressed again after as long as it has been there.
 */
function nextGap({ state, now }: Step, { presses }: Shutdown): number {
  const { limits, listensSince } = state;
  const gap = gapAfter(limits.pressGaps, presses);
  return limits.keepsGaps ? gap : Math.min(gap, Math.max(shortestGapMs, now - listensSince));
}

/** Presses once more, unless that would change nothing: a guest that does not listen is pressed as soon as it does. */
export function pressAgain(s: Step, shutdown: Shutdown): void {
  if (s.state.limits.keepsGaps || !isUselessToPress(s.state.button.evidence)) press(s, shutdown);
  else shutdown.nextPressAt = s.now + nextGap(s, shutdown);
}

/** POWERDOWN came: from the first press on, its own or a hook's, qemu-trap presses again when it is time. */
export function onPressed(s: Step, shutdown: Shutdown): void {
  const isFirst = !shutdown.isPressed;
  shutdown.isPressed = true;
  if (!shutdown.isPressing) {
    shutdown.presses++;
    shutdown.nextPressAt = s.now + nextGap(s, shutdown);
  }
  shutdown.isPressing = false;
  const { button } = s.state;
  const nextReadAt = isFirst || button.nextReadAt <= s.now ? s.now + readAfterPressMs : button.nextReadAt;
  s.state.button = { ...button, evidence: withPress(button.evidence), nextReadAt };
  if (isFirst) letGuestGoOn(s, shutdown);
}

/** RESET, or WAKEUP: what was known of the button was of the guest before it. */
export function forgetButton(button: ButtonWatch, now: number): ButtonWatch {
  const evidence = withNewGuest(button.evidence);
  return { ...button, evidence, isPlaced: false, nextReadAt: Math.min(button.nextReadAt, now + readEveryMs) };
}

/** Lets a guest that stands still go on, if it is time. */
export function letGuestGoOn(s: Step, shutdown: Shutdown): void {
  const { goesOnAt, rule } = shutdown;
  if (!mayLetGoOn(s.state) || s.now < goesOnAt) return;
  s.effects.push({ do: 'let-go-on', signal: rule.signal, isAgain: s.now < goesOnAt + goesOnAgainMs });
  shutdown.goesOnAt = s.now + goesOnEveryMs;
}

/** Has the registers looked up, or read, if it is time. */
export function readButton(s: Step): void {
  const { shutdown, button } = s.state;
  if (shutdown === null || !mayReadButton(s.state)) return;
  if (s.now < button.nextReadAt || s.now >= shutdown.nextPressAt) return;
  const { isPlaced } = button;
  s.effects.push({ do: isPlaced ? 'read-button' : 'look-up-button' });
  s.state.button = {
    ...button,
    asked: isPlaced ? 'registers' : 'place',
    nextReadAt: s.now + (button.evidence.press === 'pending' ? readPendingEveryMs : readEveryMs),
  };
}

/** The registers were looked up, or do not lie any more where they did. */
export function onPlace(s: Step, place: ButtonPlace | null): void {
  const { state } = s;
  const { button, shutdown } = state;
  state.button = { ...button, asked: 'nothing' };
  if (shutdown === null || place === null) return;
  const evidence = withPlace(button.evidence, place);
  state.button = { ...state.button, evidence, isPlaced: place === 'placed' };
  noticeNews(s, shutdown);
}

/** The registers were read: a guest that listens at last is pressed at once. */
export function onReading(s: Step, reading: ButtonReading | null): void {
  const { state } = s;
  const { button, shutdown } = state;
  state.button = { ...button, asked: 'nothing' };
  if (shutdown === null || reading === null) return;
  const evidence = withReading(button.evidence, reading);
  state.button = { ...state.button, evidence };
  const isFree = state.termination === null && !shutdown.isPressing && !state.limits.keepsGaps;
  if (!isFree || !hasBegunToListen(evidence)) return noticeNews(s, shutdown);
  state.listensSince = s.now;
  notice(s, { event: 'listening', signal: shutdown.rule.signal });
  press(s, shutdown);
}

/** A press takes the guest a moment: that it has not taken it yet is told at the end. */
function noticeNews(s: Step, { rule }: Shutdown): void {
  const { button } = s.state;
  const state = buttonStateOf(button.evidence);
  if (state === button.told || state === null || state === 'not-taken' || state === 'unknown') return;
  s.state.button = { ...button, told: state };
  notice(s, { event: 'button', signal: rule.signal, state });
}
