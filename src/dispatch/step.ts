import { isBusy, withLostTime } from '../outcome/disk-activity.js';
import type { EndCause } from '../outcome/end-cause.js';
import { type QemuEvent, guestEnded, isExiting, withEvent, withRunState } from '../outcome/evidence.js';
import {
  endOverdue,
  onCommandEnd,
  onHookEnd,
  onReset,
  startChain,
  startNextStage,
  startReserve,
  askThenStart,
  startShutdownChain,
} from './chain.js';
import { endIfWaitingIsUseless, takeDefaultAction, killQemu, onExit, onStay } from './default-action.js';
import { giveMoreTime, onDisks, readDisks } from './busy-disks.js';
import type { Effect, Input, Notice } from './messages.js';
import { notice, noticeCounts } from './notices.js';
import { beginWaiting, onSignal } from './on-signal.js';
import { forgetButton, letGuestGoOn, onPlace, onPressed, onReading, pressAgain, readButton } from './power-button.js';
import { type Shutdown, type State, type Step, type Termination, chainOf, isFinal } from './state.js';

/*
 * What each signal does in each state, and what follows from it. Pure: inputs come in with their time, decisions go out
 * as effects and notices; nothing here waits, reads a clock or touches a process. vm/vm.ts carries the effects out.
 */

/** A longer gap is time in which this process, or its whole container, stood still. */
const longestGapMs = 2_000;

/**
 * Takes one input in.
 * @param now the time of the input, in milliseconds on a clock that never goes back
 */
export function step(
  before: State,
  input: Input,
  now: number,
): { readonly state: State; readonly effects: readonly Effect[]; readonly notices: readonly Notice[] } {
  const state: State = {
    ...before,
    shutdown: before.shutdown && {
      ...before.shutdown,
      noticed: new Set(before.shutdown.noticed),
      waiting: new Map(before.shutdown.waiting),
    },
    termination: before.termination && { ...before.termination },
    chains: new Map([...before.chains].map(([signal, chain]) => [signal, { ...chain }])),
    ignored: new Map(before.ignored),
  };
  const s: Step = { state, effects: [], notices: [], now };
  take(s, input);
  readButton(s);
  readDisks(s);
  return s;
}

function take(s: Step, input: Input): void {
  const { state } = s;
  if (state.shutdown !== null) regainLostTime(s, state.shutdown);
  switch (input.kind) {
    case 'signal':
      return onSignal(s, input.rule, input.times, input.atTerminal);
    case 'monitor-up':
      return onMonitorUp(s, input.runState, input.ageMs);
    case 'run-state':
      return onRunState(s, input.runState);
    case 'powerdown':
      if (state.shutdown !== null && state.termination === null) onPressed(s, state.shutdown);
      return;
    case 'button':
      onReading(s, input.reading);
      return;
    case 'button-place':
      onPlace(s, input.place);
      return;
    case 'disks':
      return onDisks(s, input.writes);
    case 'wakeup':
      state.button = forgetButton(state.button, s.now);
      return;
    case 'qemu':
      return onQemuEvent(s, input.event);
    case 'hook-exit': {
      const chain = chainOf(state, input.signal);
      if (chain?.at === 'hook') chain.hasExited = true;
      return;
    }
    case 'hook-end': {
      const { shutdown } = state;
      onHookEnd(s, input.signal, input.outcome);
      if (shutdown !== null) beginWaiting(s, shutdown.waiting);
      return;
    }
    case 'command-end':
      return onCommandEnd(s, input.signal, input.ok, input.isPress);
    case 'gone':
      return noticeCounts(s);
    case 'tick':
      return onTick(s);
  }
}

function onMonitorUp(s: Step, runState: string, ageMs: number): void {
  const { state } = s;
  state.monitorUp = true;
  state.listensSince = s.now - ageMs;
  state.evidence = withRunState(state.evidence, runState);
  if (state.termination !== null) return;
  if (state.shutdown?.at === 'start') startShutdownChain(s, state.shutdown);
  for (const chain of state.chains.values()) if (chain.at === 'start') startChain(s, chain);
}

function onRunState(s: Step, runState: string): void {
  const { state } = s;
  const { shutdown, termination } = state;
  state.evidence = withRunState(state.evidence, runState);
  if (shutdown?.at === 'start' && state.monitorUp && termination === null) startShutdownChain(s, shutdown);
  else if (!endIfWaitingIsUseless(s) && shutdown !== null) letGuestGoOn(s, shutdown);
}

function onQemuEvent(s: Step, event: QemuEvent): void {
  const { state } = s;
  const before = state.evidence;
  // A hook that restarts its guest, and was overtaken by a shutdown, brings the guest back for no longer than QEMU needs to quit.
  const { termination } = state;
  const isOver = termination !== null && termination.action !== 'none' && guestEnded(before);
  if (isOver && (event.event === 'RESET' || event.event === 'RESUME')) return;
  state.evidence = withEvent(before, event);
  const [exited, exits] = [isExiting(before), isExiting(state.evidence)];
  if (!exited && exits) onExit(s);
  if (exited && !exits) {
    if (event.event === 'STOP') onStay(s);
    else onReturn(s);
  } else if (event.event === 'RESET') onReset(s, event.byGuest);
  // In a shutdown it is seen to begin to listen.
  if (event.event === 'RESET' && state.shutdown === null) state.listensSince = s.now;
}

/** The guest runs again, after a reboot within the same QEMU, say; unless QEMU exits all the same. */
function onReturn(s: Step): void {
  const { state } = s;
  if (state.termination === null || isFinal(state.termination)) return;
  state.termination = null;
  const { shutdown } = state;
  if (shutdown?.at === 'start') askThenStart(s, shutdown);
  // What brought it back is not what the shutdown asked for.
  else if (shutdown !== null) startNextStage(s, shutdown, 'guest-reset');
}

/**
 * Time in which nothing of this process ran is not the guest's: the deadline moves by it, and the reserve with it. It moves
 * by the rule's timeout at most in all. If that would leave the last stage less of its reserve than it had, it has that
 * again, once: a process that stands still again and again ends, too.
 */
function regainLostTime(s: Step, shutdown: Shutdown): void {
  const { now } = s;
  const { seenAt, reserveAt, deadline } = shutdown;
  const gap = now - seenAt;
  shutdown.seenAt = now;
  // A QEMU that exits is waited for without a heartbeat.
  if (gap <= longestGapMs || s.state.termination !== null) return;
  const capped = Math.max(0, Math.min(gap, shutdown.rule.timeoutMs - shutdown.lostMs));
  const reserveLeft = Math.min(deadline - reserveAt, deadline - seenAt);
  const hasTooLittle = !shutdown.hasReserveAgain && now + reserveLeft > deadline + capped;
  const ms = hasTooLittle ? now + reserveLeft - deadline : capped;
  if (ms <= 0) return;
  shutdown.hasReserveAgain ||= hasTooLittle;
  shutdown.reserveAt += ms;
  if (deadline === Infinity) return;
  // What was due meanwhile is due now.
  if (shutdown.disksReadAt > now) shutdown.disksReadAt += ms;
  shutdown.disks = withLostTime(shutdown.disks, ms);
  shutdown.lostMs += ms;
  shutdown.deadline += ms;
  if (shutdown.busyUntil !== null) shutdown.busyUntil = Math.max(shutdown.busyUntil + capped, shutdown.deadline);
  notice(s, { event: 'lost-time', signal: shutdown.rule.signal, ms, suspendedMs: gap });
}

function onTick(s: Step): void {
  const { state, now } = s;
  const { shutdown, termination } = state;
  if (termination !== null) onTickOfTermination(s, termination);
  else if (shutdown !== null) {
    // In this order: a tick that comes late still gives the last stage its turn.
    if (now >= shutdown.reserveAt && !shutdown.reserveCame && state.monitorUp) startReserve(s, shutdown);
    if (now >= shutdown.deadline && !giveMoreTime(s, shutdown)) takeDefaultAction(s, lateCause(shutdown, now));
    else if (now >= shutdown.nextPressAt) pressAgain(s, shutdown);
    letGuestGoOn(s, shutdown);
  }
  for (const chain of [...state.chains.values()]) if (now >= chain.deadline) endOverdue(s, chain);
  for (const [signal, ignored] of state.ignored) {
    if (now < ignored.until) continue;
    state.ignored.delete(signal);
    if (ignored.more > 0) notice(s, { event: 'ignored', signal, times: ignored.more });
  }
}

function lateCause({ isExtended, disks }: Shutdown, now: number): EndCause {
  if (!isExtended) return 'deadline';
  return isBusy(disks, now) ? 'busy-deadline' : 'quiet-deadline';
}

function onTickOfTermination(s: Step, termination: Termination): void {
  if (!termination.killed && s.now >= termination.killAt) killQemu(s, termination);
  else if (termination.killed && s.now >= termination.abandonAt) {
    termination.abandonAt = Infinity;
    notice(s, { event: 'abandoned' });
    s.effects.push({ do: 'abandon' });
  }
}
