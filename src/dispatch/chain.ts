import { buttonStateOf } from '../outcome/button-evidence.js';
import type { HookOutcome } from '../outcome/hook-outcome.js';
import { isRunning, isStoppedByMigration } from '../outcome/run-state.js';
import type { MonitorStage, Rule, Stage } from '../rules/rule.js';
import type { SignalName } from '../signals/names.js';
import { endIfWaitingIsUseless } from './default-action.js';
import type { NextStageReason } from './messages.js';
import { notice, noticeRepeats } from './notices.js';
import { forgetButton, press } from './power-button.js';
import { type Chain, type Shutdown, type Step, chainOf } from './state.js';

const longestReserveMs = 15_000;
/** How long a hook has, in milliseconds, if there is no deadline. */
const hookWithoutDeadlineMs = 60_000;

/** How long the power button is left to others, from the signal on, in milliseconds. */
export function buttonIsOthersMs({ timeoutMs }: Rule): number {
  return timeoutMs === Infinity ? hookWithoutDeadlineMs : timeoutMs - Math.min(timeoutMs / 4, longestReserveMs);
}

export function newChain(rule: Rule, now: number): Chain {
  return {
    rule,
    since: now,
    deadline: now + rule.timeoutMs,
    at: 'start',
    begun: 0,
    repeats: 0,
    hasExited: false,
    isWantedAgain: false,
  };
}

/** Runs the rule of a signal that leaves the guest running. */
export function runBeside(s: Step, rule: Rule): void {
  const chain = newChain(rule, s.now);
  // Nothing is forced by it, and a hook that hangs is in the way of the next one.
  if (chain.deadline === Infinity) chain.deadline = s.now + hookWithoutDeadlineMs;
  s.state.chains.set(rule.signal, chain);
  if (s.state.monitorUp) startChain(s, chain);
}

/** Not every change of a guest that stands still is an event: what is known of it may be old. */
export function askThenStart(s: Step, shutdown: Shutdown): void {
  if (isRunning(s.state.evidence.runState)) startShutdownChain(s, shutdown);
  else s.effects.push({ do: 'ask-run-state' });
}

export function startShutdownChain(s: Step, shutdown: Shutdown): void {
  if (!endIfWaitingIsUseless(s)) startChain(s, shutdown);
}

export function startChain(s: Step, chain: Chain): void {
  const [first] = chain.rule.stages;
  beginStage(s, chain, first?.kind === 'hook' ? first : nextMonitorStage(s, chain));
}

/** What comes after the hook, in turn; a shutdown comes back to the power button however often it is asked for. */
function nextMonitorStage(s: Step, chain: Chain): MonitorStage | null {
  const { stages } = chain.rule;
  const isOfMonitor = (stage: Stage): stage is MonitorStage => stage.kind !== 'hook';
  const isButton = (stage: Stage): stage is MonitorStage => stage.kind === 'power-button';
  const next = stages.slice(chain.begun).find(isOfMonitor);
  return next ?? (chain === s.state.shutdown ? stages.find(isButton) : null) ?? null;
}

function beginStage(s: Step, chain: Chain, stage: Stage | null): void {
  if (stage === null) {
    chain.at = 'guest';
    return;
  }
  chain.at = stage.kind;
  chain.begun = chain.rule.stages.indexOf(stage) + 1;
  const { shutdown, evidence } = s.state;
  const { signal } = chain.rule;
  switch (stage.kind) {
    case 'hook':
      s.effects.push({ do: 'run-hook', signal, script: stage.script, deadline: chain.deadline });
      return;
    case 'command':
      s.effects.push({ do: 'command', signal, line: stage.line });
      return;
    case 'power-button':
      if (chain === shutdown) press(s, shutdown);
      else s.effects.push({ do: 'press', signal, isRunning: isRunning(evidence.runState) });
  }
}

export function startNextStage(s: Step, chain: Chain, because: NextStageReason): void {
  const stage = nextMonitorStage(s, chain);
  if (stage !== null) notice(s, { event: 'next-link', signal: chain.rule.signal, stage, because });
  beginStage(s, chain, stage);
  // In the reserve the button does not wait for the answer to a command: QEMU may never give one.
  const { shutdown } = s.state;
  if (chain === shutdown && shutdown.reserveCame && shutdown.at === 'command' && isButtonAhead(shutdown))
    startNextStage(s, shutdown, 'little-time');
}

/** True if the rule has a power button, and qemu-trap has not pressed it for this shutdown. */
function isButtonAhead({ rule, begun }: Shutdown): boolean {
  return rule.stages.slice(begun).some(({ kind }) => kind === 'power-button');
}

export function onHookEnd(s: Step, signal: SignalName, outcome: HookOutcome): void {
  const { shutdown, termination } = s.state;
  const chain = chainOf(s.state, signal);
  if (chain?.at !== 'hook') return;
  chain.hasExited = false;
  if (termination !== null) {
    if (chain !== shutdown) finishChain(s, chain);
    return;
  }
  switch (outcome.kind) {
    case 'done':
      return onHookDone(s, chain);
    case 'not-now':
      if (chain === shutdown && shutdown.presses > 0) {
        // The press cannot be taken back, and a service manager was told that the VM stops.
        notice(s, { event: 'too-late', signal });
        return onHookDone(s, chain);
      }
      notice(s, { event: 'dropped', signal });
      finishChain(s, chain);
      return;
    case 'failed':
      // A chain that would shut the guest down on a failure does not run beside a shutdown.
      if (chain !== shutdown && (shutdown !== null || nextMonitorStage(s, chain) === null)) {
        notice(s, { event: 'failed', signal });
        finishChain(s, chain);
        return;
      }
      if (chain !== shutdown || !endWithoutHook(s, shutdown)) startNextStage(s, chain, 'hook-failed');
      return;
  }
}

function onHookDone(s: Step, chain: Chain): void {
  const { shutdown } = s.state;
  if (chain !== shutdown) finishChain(s, chain);
  else if (!endWithoutHook(s, shutdown) && wantsPressAnew(shutdown)) startReserve(s, shutdown);
}

/** What was left to the hook of a shutdown is so no more. */
function endWithoutHook(s: Step, shutdown: Shutdown): boolean {
  shutdown.at = 'guest';
  return endIfWaitingIsUseless(s);
}

/** In the last quarter, and the press that came is forgotten: the guest has reset since. */
function wantsPressAnew({ reserveCame, isPressed }: Shutdown): boolean {
  return reserveCame && !isPressed;
}

/** @param isPress QEMU has answered a press of the power button, and not a command of the rule */
export function onCommandEnd(s: Step, signal: SignalName, ok: boolean, isPress: boolean): void {
  const { shutdown, termination } = s.state;
  const chain = chainOf(s.state, signal);
  if (chain?.at !== (isPress ? 'power-button' : 'command')) return;
  if (chain !== shutdown) {
    if (!ok) notice(s, { event: 'failed', signal });
    finishChain(s, chain);
  } else if (!isPress && termination === null) {
    // Whatever it was meant to do, the guest is still there.
    shutdown.at = 'guest';
    if (!ok) startNextStage(s, shutdown, 'command-failed');
    else if (wantsPressAnew(shutdown)) startNextStage(s, shutdown, 'command-done');
  }
}

/** The chain is over, and QEMU stays. */
function finishChain(s: Step, chain: Chain): void {
  const { state } = s;
  noticeRepeats(s, chain);
  if (chain === state.shutdown) {
    state.shutdown = null;
    return;
  }
  state.chains.delete(chain.rule.signal);
  endIfWaitingIsUseless(s);
  if (chain.isWantedAgain && state.shutdown === null && state.termination === null) runBeside(s, chain.rule);
}

export function onReset(s: Step, byGuest: boolean): void {
  const { shutdown, termination, limits } = s.state;
  if (shutdown === null || termination !== null) return;
  // The press that went before is forgotten with the guest that heard it.
  shutdown.isPressed = false;
  shutdown.isPressing = false;
  s.state.button = forgetButton(s.state.button, s.now);
  if (shutdown.presses > 0) {
    // Once it is back, or now if the deadline would come before that.
    const whenBack = s.now + (limits.pressGaps.at(-1) ?? longestReserveMs);
    shutdown.nextPressAt = Math.min(shutdown.nextPressAt, whenBack < shutdown.deadline ? whenBack : s.now);
  } else if (shutdown.at === 'guest' && byGuest && isButtonAhead(shutdown)) {
    startNextStage(s, shutdown, 'guest-reset');
  }
}

/** One of them has stopped the guest to write it somewhere: what it has not done by now is undone. */
function endHooksBeside(s: Step): void {
  for (const chain of [...s.state.chains.values()]) if (chain.at === 'hook') endOverdue(s, chain);
}

/** The last quarter of the time: it belongs to the power button. */
export function startReserve(s: Step, shutdown: Shutdown): void {
  shutdown.reserveCame = true;
  if (isStoppedByMigration(s.state.evidence.runState)) endHooksBeside(s);
  if (s.state.termination !== null) return;
  // The hook that pressed it may still be at work, until the deadline.
  if (shutdown.isPressed) {
    // Without a deadline there is no last chance, and a guest that has taken the press has no need of another.
    const isTaken = buttonStateOf(s.state.button.evidence) === 'taken';
    if (shutdown.deadline !== Infinity && !isTaken) press(s, shutdown);
    return;
  }
  if (!isButtonAhead(shutdown)) return;
  const { signal, stages } = shutdown.rule;
  const timedOut = shutdown.at === 'hook';
  if (timedOut) {
    s.effects.push({ do: 'stop-hook', signal, why: 'timeout' });
    if (endWithoutHook(s, shutdown)) return;
  }
  const commandCame = stages.slice(0, shutdown.begun).some(({ kind }) => kind === 'command');
  const because = shutdown.at === 'command' ? 'little-time' : commandCame ? 'command-done' : 'reserve';
  startNextStage(s, shutdown, timedOut ? 'hook-timeout' : because);
}

/** The time of a signal that leaves the guest running is up. */
export function endOverdue(s: Step, chain: Chain): void {
  const { state } = s;
  const { signal } = chain.rule;
  const timedOut = chain.at === 'hook';
  if (timedOut) s.effects.push({ do: 'stop-hook', signal, why: 'timeout' });
  const isAlone = state.shutdown === null && state.termination === null;
  if (timedOut && isAlone && nextMonitorStage(s, chain) !== null) {
    chain.deadline = s.now + state.limits.killAfterMs;
    startNextStage(s, chain, 'hook-timeout');
    return;
  }
  notice(s, { event: timedOut ? 'failed' : 'command-timeout', signal });
  finishChain(s, chain);
}
