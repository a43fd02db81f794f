import type { EndCause } from '../outcome/end-cause.js';
import { guestEnded } from '../outcome/evidence.js';
import { uselessToWait } from '../outcome/run-state.js';
import { notice, noticeRepeats } from './notices.js';
import type { Termination, Shutdown, Step } from './state.js';

/** How long a killed process may need to go (its memory is given back, its disks are closed). */
const abandonAfterMs = 30_000;

/** If no wait is of any use: the default action now, or `quit` to a QEMU that only stays. */
export function endIfWaitingIsUseless(s: Step): boolean {
  const { state } = s;
  const cause = uselessToWait(state.evidence.runState);
  if (cause === null || state.stop === null || state.end !== null || !state.monitorUp) return false;
  takeDefaultAction(s, cause);
  return true;
}

export function takeDefaultAction(s: Step, cause: EndCause): void {
  const { state, now } = s;
  const { stop } = state;
  if (stop === null || state.end !== null) return;
  const action = cause !== 'powered-off' && stop.rule.defaultAction === 'kill' ? 'kill' : 'quit';
  endHookForGood(s, stop);
  stop.nextPressAt = Infinity;
  noticeRepeats(s, stop);
  state.end = { action, cause, killAt: now + state.limits.killAfterMs, killed: false, abandonAt: Infinity };
  if (cause !== 'powered-off') notice(s, { event: 'default-action', signal: stop.rule.signal, action, cause });
  if (action === 'kill') killQemu(s, state.end);
  else s.actions.push({ do: 'quit' });
}

export function killQemu(s: Step, end: Termination): void {
  end.killed = true;
  end.abandonAt = s.now + abandonAfterMs;
  if (end.action === 'none') notice(s, { event: 'exit-hangs', afterMs: s.state.limits.killAfterMs });
  else if (end.action !== 'kill') notice(s, { event: 'kill', cause: end.cause });
  s.actions.push({ do: 'kill' });
}

/**
 * QEMU has said that it exits. From here on nothing is said to it: its monitors' thread would still read it while the
 * main thread takes them down, and QEMU 10.0 crashes on that. It has the time to kill to flush its disks.
 */
export function onExit(s: Step): void {
  const { state, now } = s;
  const { stop, end } = state;
  if (stop !== null) {
    stop.nextPressAt = Infinity;
    endHookForGood(s, stop);
    noticeRepeats(s, stop);
  }
  if (end !== null) return;
  const cause = guestEnded(state.evidence) ? 'powered-off' : 'going';
  state.end = { action: 'none', cause, killAt: now + state.limits.killAfterMs, killed: false, abandonAt: Infinity };
}

/** QEMU stays after its guest's end (-no-shutdown): in a shutdown it is told to quit, else it is as it was asked to be. */
export function onStay(s: Step): void {
  const { state, now } = s;
  const { stop, end } = state;
  if (end?.action !== 'none' || end.killed) return;
  if (stop === null) {
    state.end = null;
    return;
  }
  end.action = 'quit';
  end.killAt = now + state.limits.killAfterMs;
  s.actions.push({ do: 'quit' });
}

/** No hook has anything to say to a QEMU that exits in a shutdown, or is about to be told to; that of the shutdown ends. */
function endHookForGood(s: Step, { link, rule: { signal } }: Shutdown): void {
  s.actions.push({ do: 'silence-hooks' });
  if (link === 'script') s.actions.push({ do: 'end-hook', signal });
}
