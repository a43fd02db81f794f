import { type QemuEvent, guestEnded, isExiting, withEvent, withRunState } from '../outcome/evidence.js';
import {
  runOf,
  startShutdownChain,
  startChain,
  startNextStage,
  onHookEnd,
  onCommandEnd,
  onReset,
  startReserve,
  endOverdue,
} from './chain.js';
import { endIfWaitingIsUseless, takeDefaultAction, killQemu, onExit, onStay } from './default-action.js';
import type { Action, Input } from './messages.js';
import { notice, noticeCounts } from './notices.js';
import { onSignal } from './on-signal.js';
import { press, onPressed, letGuestGoOn } from './power-button.js';
import type { State, Shutdown, Step } from './state.js';

/*
 * What each signal does in each state, and what follows from it. Pure: facts come in with their time, decisions go
 * out as actions; nothing here waits, reads a clock or touches a process. vm/vm.ts does what the actions say.
 */

/** A longer gap is time in which this process, or its whole container, stood still. */
const longestGapMs = 2_000;

/**
 * Takes one fact in.
 * @param now the time of the fact, in milliseconds on a clock that never goes back
 */
export function step(before: State, input: Input, now: number): { state: State; actions: Action[] } {
  const state: State = {
    ...before,
    stop: before.stop && { ...before.stop },
    end: before.end && { ...before.end },
    runs: new Map([...before.runs].map(([signal, run]) => [signal, { ...run }])),
    ignored: new Map(before.ignored),
  };
  const actions: Action[] = [];
  take({ state, actions, now }, input);
  return { state, actions };
}

function take(s: Step, input: Input): void {
  const { state } = s;
  if (state.stop !== null) regainLostTime(s, state.stop);
  switch (input.kind) {
    case 'signal':
      return onSignal(s, input.rule, input.times, input.atTerminal);
    case 'monitor-up':
      state.monitorUp = true;
      state.evidence = withRunState(state.evidence, input.runState);
      if (state.end !== null) return;
      if (state.stop?.link === 'start') startShutdownChain(s, state.stop);
      for (const run of state.runs.values()) if (run.link === 'start') startChain(s, run);
      return;
    case 'run-state':
      state.evidence = withRunState(state.evidence, input.runState);
      if (state.stop?.link === 'start' && state.monitorUp && state.end === null) startShutdownChain(s, state.stop);
      else if (!endIfWaitingIsUseless(s) && state.stop?.powerdown && state.end === null) letGuestGoOn(s, state.stop);
      return;
    case 'powerdown':
      if (state.stop !== null && state.end === null) onPressed(s, state.stop);
      return;
    case 'qemu':
      return onQemuEvent(s, input.event);
    case 'hook-exit': {
      const run = runOf(s, input.signal);
      if (run?.link === 'script') run.hasExited = true;
      return;
    }
    case 'hook-end':
      return onHookEnd(s, input.signal, input.outcome);
    case 'command-end':
      return onCommandEnd(s, input.signal, input.ok, input.isPress);
    case 'gone':
      return noticeCounts(s);
    case 'tick':
      return onTick(s);
  }
}

function onQemuEvent(s: Step, event: QemuEvent): void {
  const { state } = s;
  const before = state.evidence;
  // A hook that restarts its guest, and was overtaken by a shutdown, brings nobody back for longer than QEMU needs to quit.
  const isOver = state.end !== null && state.end.action !== 'none' && guestEnded(before);
  if (isOver && (event.event === 'RESET' || event.event === 'RESUME')) return;
  state.evidence = withEvent(before, event);
  const [exited, exits] = [isExiting(before), isExiting(state.evidence)];
  if (!exited && exits) onExit(s);
  let wasBroughtBack = false;
  if (exited && !exits) {
    if (event.event === 'STOP') onStay(s);
    else wasBroughtBack = onReturn(s);
  }
  if (event.event === 'RESET' && !wasBroughtBack) onReset(s, event.byGuest);
}

/**
 * The guest runs again, after a reboot within the same QEMU, say.
 * @returns false if QEMU ends all the same
 */
function onReturn(s: Step): boolean {
  const { state } = s;
  if (state.end?.action !== 'none' || state.end.killed) return false;
  state.end = null;
  // What brought it back is not what the shutdown asked for.
  if (state.stop !== null) startNextStage(s, state.stop, 'guest-reset');
  return true;
}

/** Time in which nothing of this process ran is not the guest's: the deadline moves by it, and the reserve with it. */
function regainLostTime(s: Step, stop: Shutdown): void {
  const { now } = s;
  const gap = now - stop.seenAt;
  stop.seenAt = now;
  // A QEMU that exits is waited for without a heartbeat.
  if (gap <= longestGapMs || s.state.end !== null) return;
  const ms = Math.min(gap, stop.rule.timeoutMs - stop.lostMs);
  if (ms <= 0) return;
  const reserveMs = stop.deadline - stop.reserveAt;
  stop.lostMs += ms;
  stop.deadline += ms;
  stop.reserveAt = stop.deadline - reserveMs;
  notice(s, { event: 'lost-time', signal: stop.rule.signal, ms });
}

function onTick(s: Step): void {
  const { state, now } = s;
  const { end, stop } = state;
  if (end !== null) {
    if (!end.killed && now >= end.killAt) killQemu(s, end);
    else if (end.killed && now >= end.abandonAt) {
      end.abandonAt = Infinity;
      notice(s, { event: 'abandoned' });
      s.actions.push({ do: 'abandon' });
    }
  } else if (stop !== null) {
    // In this order: a tick that comes late still gives the last link its turn.
    if (now >= stop.reserveAt && !stop.reserveCame && state.monitorUp) startReserve(s, stop);
    if (now >= stop.deadline) takeDefaultAction(s, 'deadline');
    else if (now >= stop.nextPressAt) press(s, stop);
  }
  for (const run of [...state.runs.values()]) if (now >= run.deadline) endOverdue(s, run);
  for (const [signal, ignored] of state.ignored) {
    if (now < ignored.until) continue;
    state.ignored.delete(signal);
    if (ignored.more > 0) notice(s, { event: 'ignored', signal, times: ignored.more });
  }
}
