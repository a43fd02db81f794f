import { isRunning } from '../outcome/run-state.js';
import { type Rule, isIgnored } from '../rules/rule.js';
import type { SignalName } from '../signals/names.js';
import { runOf, startRun, startShutdownChain, longestReserveMs, isButton } from './chain.js';
import { takeDefaultAction } from './default-action.js';
import { notice, noticeOnce, onIgnored } from './notices.js';
import type { State, Shutdown, Step } from './state.js';
import { type Phase, type SignalClass, dispatchTable } from './table.js';

/** A second Ctrl-C sooner than this after the first is the same person's impatience, not a decision. */
const ctrlCGapMs = 1_000;

function classOf(rule: Rule, state: State, atTerminal: boolean, now: number): SignalClass {
  if (rule.signal === 'SIGQUIT' && (state.stop !== null || state.end !== null)) return 'cut';
  const first = state.stop?.ctrlCAt ?? null;
  const secondCtrlC = atTerminal && rule.signal === 'SIGINT' && first !== null && now - first >= ctrlCGapMs;
  if (isIgnored(rule)) return 'ignored';
  if (rule.defaultAction === 'none') return 'runs-on';
  return secondCtrlC ? 'cut' : 'ends';
}

function phaseFor(signal: SignalName, state: State): Phase {
  if (state.end !== null) return state.stop === null ? 'exiting' : 'ending';
  if (state.stop !== null) return state.stop.rule.signal === signal ? 'same-stopping' : 'stopping';
  return state.runs.has(signal) ? 'same-running' : 'up';
}

export function onSignal(s: Step, rule: Rule, times: number, atTerminal: boolean): void {
  const { state, now } = s;
  const { signal } = rule;
  const reaction = dispatchTable[phaseFor(signal, state)][classOf(rule, state, atTerminal, now)];
  switch (reaction) {
    case 'begin':
      beginShutdown(s, rule);
      break;
    case 'run': {
      startRun(s, rule);
      return;
    }
    case 'coalesce': {
      const run = runOf(s, signal);
      if (run?.hasExited && run !== state.stop) run.isWantedAgain = true;
      else if (run) run.again += times;
      break;
    }
    case 'stands':
    case 'refuse':
      noticeOnce(s, signal, reaction === 'refuse' ? 'refused' : 'stands');
      break;
    case 'cut':
      // One that ends already has no more than the time to kill left.
      if (state.end === null) takeDefaultAction(s, 'cut');
      else noticeOnce(s, signal, 'stands');
      return;
    case 'ignore':
      onIgnored(s, signal, times);
      return;
  }
  if (atTerminal && signal === 'SIGINT' && state.stop !== null && state.stop.ctrlCAt === null && state.end === null) {
    state.stop.ctrlCAt = now;
    notice(s, { event: 'again-to-force' });
  }
}

function beginShutdown(s: Step, rule: Rule): void {
  const { state, now } = s;
  const reserveMs = rule.monitorCommand === null ? 0 : Math.min(rule.timeoutMs / 4, longestReserveMs);
  const stop: Shutdown = {
    rule,
    since: now,
    deadline: now + rule.timeoutMs,
    reserveAt: now + rule.timeoutMs - reserveMs,
    link: 'start',
    again: 0,
    hasExited: false,
    isWantedAgain: false,
    reserveCame: false,
    commandSent: rule.monitorCommand === null || isButton(rule.monitorCommand),
    buttonAsked: rule.monitorCommand === null,
    seenAt: now,
    lostMs: 0,
    powerdown: false,
    presses: 0,
    isPressing: false,
    nextPressAt: Infinity,
    ctrlCAt: null,
    told: new Set(),
  };
  state.stop = stop;
  for (const [signal, run] of state.runs) {
    if (run.link !== 'start') continue;
    state.runs.delete(signal);
    noticeOnce(s, signal, 'refused');
  }
  // QEMU exits just now: there is nobody left to ask, and if it stays, it is told to quit.
  if (state.end !== null) return;
  if (rule.script === null && rule.monitorCommand === null) {
    takeDefaultAction(s, 'asked');
    return;
  }
  notice(s, { event: 'shutdown', signal: rule.signal, timeoutMs: rule.timeoutMs, waitsForMonitor: !state.monitorUp });
  if (!state.monitorUp) return;
  // Not every change of a guest that stands still is an event: what is known of it may be old.
  if (isRunning(state.evidence.runState)) startShutdownChain(s, state.stop);
  else s.actions.push({ do: 'ask-run-state' });
}
