import type { StopReason } from '../hook/log-lines.js';
import { type EndCause, isLate } from '../outcome/end-cause.js';
import { guestEnded } from '../outcome/evidence.js';
import { uselessToWait } from '../outcome/run-state.js';
import { notice, noticeRepeats } from './notices.js';
import { type Termination, type Shutdown, type Step, isFinal } from './state.js';

/** How long a killed process may need to go (its memory is given back, its disks are closed). */
const abandonAfterMs = 30_000;

/** If no wait is of any use: the default action now, or `quit` to a QEMU that only stays. */
export function endIfWaitingIsUseless(s: Step): boolean {
  const { state } = s;
  const { shutdown } = state;
  const cause = uselessToWait(state.evidence.runState);
  // A hook that has written the guest has still to put the file in its place, or lets the guest go on.
  const isHooks = [shutdown, ...state.chains.values()].some((chain) => chain?.at === 'hook');
  if (
    cause === null ||
    (cause === 'migrated' && isHooks) ||
    shutdown === null ||
    state.termination !== null ||
    !state.monitorUp
  )
    return false;
  takeDefaultAction(s, cause);
  return true;
}

export function takeDefaultAction(s: Step, cause: EndCause): void {
  const { state } = s;
  const { shutdown } = state;
  if (shutdown === null) return;
  const isOff = cause === 'powered-off';
  const action = !isOff && shutdown.rule.defaultAction === 'kill' ? 'kill' : 'quit';
  endHookForGood(s, shutdown, isOff ? 'guest-off' : isLate(cause) ? 'timeout' : 'qemu-exits');
  noticeRepeats(s, shutdown);
  const termination = newTermination(s, action, cause);
  state.termination = termination;
  if (!isOff) notice(s, { event: 'default-action', signal: shutdown.rule.signal, action, cause });
  if (action === 'kill') killQemu(s, termination);
  else s.effects.push({ do: 'quit' });
}

function newTermination({ state, now }: Step, action: Termination['action'], cause: EndCause): Termination {
  return { action, cause, killAt: now + state.limits.killAfterMs, killed: false, abandonAt: Infinity };
}

export function killQemu(s: Step, termination: Termination): void {
  const { action, cause } = termination;
  termination.killed = true;
  termination.abandonAt = s.now + abandonAfterMs;
  if (action === 'none') notice(s, { event: 'exit-hangs', afterMs: s.state.limits.killAfterMs });
  else if (action !== 'kill') notice(s, { event: 'kill', cause });
  s.effects.push({ do: 'kill' });
}

/**
 * QEMU has said that it exits. From here on nothing is said to it: its monitors' thread would still read it while the
 * main thread takes them down, and QEMU 10.0 crashes on that. It has the time to kill to flush its disks.
 */
export function onExit(s: Step): void {
  const { state } = s;
  const { shutdown } = state;
  if (shutdown !== null) {
    shutdown.nextPressAt = Infinity;
    endHookForGood(s, shutdown, guestEnded(state.evidence) ? 'guest-off' : 'qemu-exits');
    noticeRepeats(s, shutdown);
  }
  state.termination ??= newTermination(s, 'none', guestEnded(state.evidence) ? 'powered-off' : 'going');
}

/** QEMU stays after its guest's end (-no-shutdown): in a shutdown it is told to quit, else it is as it was asked to be. */
export function onStay(s: Step): void {
  const { state, now } = s;
  const { shutdown, termination } = state;
  if (termination === null || isFinal(termination)) return;
  if (shutdown === null) {
    state.termination = null;
    return;
  }
  termination.action = 'quit';
  termination.killAt = now + state.limits.killAfterMs;
  s.effects.push({ do: 'quit' });
}

/** No hook has anything to say to a QEMU that exits in a shutdown, or is about to be told to; that of the shutdown stops. */
function endHookForGood(s: Step, { at, rule: { signal } }: Shutdown, why: StopReason): void {
  s.effects.push({ do: 'silence-hooks' });
  if (at === 'hook') s.effects.push({ do: 'stop-hook', signal, why });
}
