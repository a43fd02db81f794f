import { busyForMs, noDiskActivity } from '../outcome/disk-activity.js';
import { type Rule, isIgnored } from '../rules/rule.js';
import type { SignalName } from '../signals/names.js';
import { askThenStart, buttonIsOthersMs, newChain, runBeside } from './chain.js';
import { takeDefaultAction } from './default-action.js';
import { notice, noticeOnce, onIgnored } from './notices.js';
import { type Shutdown, type State, type Step, chainOf } from './state.js';
import { type Phase, type SignalClass, dispatchTable } from './table.js';

/** A second Ctrl-C sooner than this after the first is the same person's impatience, not a decision. */
const ctrlCGapMs = 1_000;

function classOf(rule: Rule, { shutdown, termination }: State, atTerminal: boolean, now: number): SignalClass {
  if (rule.signal === 'SIGQUIT' && (shutdown !== null || termination !== null)) return 'force';
  const first = shutdown?.ctrlCAt ?? null;
  const secondCtrlC = atTerminal && rule.signal === 'SIGINT' && first !== null && now - first >= ctrlCGapMs;
  if (isIgnored(rule)) return 'ignored';
  if (rule.defaultAction === 'none') return 'runs-on';
  return secondCtrlC ? 'force' : 'ends';
}

function phaseFor(signal: SignalName, { shutdown, termination, chains }: State): Phase {
  if (termination !== null) return shutdown === null ? 'exiting' : 'ending';
  if (shutdown !== null) return shutdown.rule.signal === signal ? 'same-stopping' : 'stopping';
  return chains.has(signal) ? 'same-running' : 'up';
}

export function onSignal(s: Step, rule: Rule, times: number, atTerminal: boolean): void {
  const { state, now } = s;
  const { signal } = rule;
  const reaction = dispatchTable[phaseFor(signal, state)][classOf(rule, state, atTerminal, now)];
  switch (reaction) {
    case 'begin':
      beginShutdown(s, rule);
      break;
    case 'run':
      return runBeside(s, rule);
    case 'coalesce':
      coalesce(s, signal, times);
      break;
    case 'keep-first':
      noticeOnce(s, signal, 'stands');
      state.shutdown?.waiting.set(signal, rule);
      break;
    case 'refuse':
      noticeOnce(s, signal, 'refused');
      break;
    case 'force':
      // A QEMU on its way out has no more than its time to SIGKILL left.
      if (state.termination === null) takeDefaultAction(s, 'cut');
      else noticeOnce(s, signal, 'stands');
      return;
    case 'ignore':
      return onIgnored(s, signal, times);
  }
  noteCtrlC(s, signal, atTerminal);
}

function coalesce(s: Step, signal: SignalName, times: number): void {
  const chain = chainOf(s.state, signal);
  if (chain?.hasExited && chain !== s.state.shutdown) chain.isWantedAgain = true;
  else if (chain) chain.repeats += times;
}

/** From the first Ctrl-C on, whichever signal the shutdown began with, the next one forces it. */
function noteCtrlC(
  { state: { shutdown, termination }, notices, now }: Step,
  signal: SignalName,
  atTerminal: boolean,
): void {
  if (!atTerminal || signal !== 'SIGINT' || shutdown === null || termination !== null) return;
  if (shutdown.ctrlCAt !== null) return;
  shutdown.ctrlCAt = now;
  notices.push({ event: 'again-to-force' });
}

function newShutdown(rule: Rule, now: number, busyMs: number | null, waiting: Map<SignalName, Rule>): Shutdown {
  const { timeoutMs } = rule;
  return {
    ...newChain(rule, now),
    reserveAt: now + buttonIsOthersMs(rule),
    reserveCame: false,
    seenAt: now,
    lostMs: 0,
    hasReserveAgain: false,
    busyUntil: busyMs !== null && busyMs > timeoutMs ? now + busyMs : null,
    disks: noDiskActivity,
    disksReadAt: now + Math.max(0, timeoutMs - busyForMs),
    isReadingDisks: false,
    isExtended: false,
    isPressed: false,
    presses: 0,
    isPressing: false,
    nextPressAt: Infinity,
    goesOnAt: -Infinity,
    ctrlCAt: null,
    noticed: new Set(),
    waiting,
  };
}

/** A shutdown was called off by its hook. A signal that came meanwhile, and is to stop the VM as well, has its turn. */
export function beginWaiting(s: Step, waiting: ReadonlyMap<SignalName, Rule>): void {
  const [first, ...others] = waiting;
  if (first === undefined || s.state.shutdown !== null) return;
  beginShutdown(s, first[1], new Map(others));
}

function beginShutdown(s: Step, rule: Rule, waiting = new Map<SignalName, Rule>()): void {
  const { state, now } = s;
  const { signal, timeoutMs, defaultAction } = rule;
  const shutdown = newShutdown(rule, now, state.limits.busyTimeoutMs, waiting);
  state.shutdown = shutdown;
  for (const [refused, chain] of state.chains) {
    if (chain.at !== 'start') continue;
    state.chains.delete(refused);
    noticeOnce(s, refused, 'refused');
  }
  // QEMU exits just now and hears nothing; if it stays, it is told to quit.
  if (state.termination !== null) return;
  if (rule.stages.length === 0) {
    takeDefaultAction(s, 'asked');
    return;
  }
  const waitsForMonitor = !state.monitorUp;
  const more = shutdown.busyUntil === null ? {} : { busyMs: shutdown.busyUntil - now };
  notice(s, { event: 'shutdown', signal, timeoutMs, defaultAction, waitsForMonitor, ...more });
  if (state.monitorUp) askThenStart(s, shutdown);
}
