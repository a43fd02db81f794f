import type { HookOutcome } from '../outcome/hook-outcome.js';
import { isRunning } from '../outcome/run-state.js';
import type { Rule } from '../rules/rule.js';
import type { SignalName } from '../signals/names.js';
import { endIfWaitingIsUseless } from './default-action.js';
import type { NextStageReason } from './messages.js';
import { notice, noticeRepeats } from './notices.js';
import { press } from './power-button.js';
import type { Chain, Shutdown, Step } from './state.js';

export const longestReserveMs = 15_000;

/** The command that presses the power button; what a rule says of it is pressed by qemu-trap's own way. */
const powerButton = 'system_powerdown';

export function isButton(command: string): boolean {
  return command.trim() === powerButton;
}

/** The chain of `signal`, if one is on its way. */
export function runOf(s: Step, signal: SignalName): Chain | undefined {
  const { stop, runs } = s.state;
  return stop?.rule.signal === signal ? stop : runs.get(signal);
}

export function startRun(s: Step, rule: Rule): void {
  const { state, now } = s;
  const run: Chain = {
    rule,
    since: now,
    deadline: now + rule.timeoutMs,
    link: 'start',
    again: 0,
    hasExited: false,
    isWantedAgain: false,
  };
  state.runs.set(rule.signal, run);
  if (state.monitorUp) startChain(s, run);
}

export function startShutdownChain(s: Step, stop: Shutdown): void {
  if (!endIfWaitingIsUseless(s)) startChain(s, stop);
}

export function startChain(s: Step, run: Chain): void {
  if (run.rule.script !== null) {
    run.link = 'script';
    s.actions.push({ do: 'run-hook', rule: run.rule, deadline: run.deadline });
  } else {
    startStage(s, run);
  }
}

/** The command that comes after the hook: the rule's own, once, and in a shutdown then the power button. */
function nextCommand(s: Step, run: Chain): string | null {
  const { rule } = run;
  return run === s.state.stop && s.state.stop.commandSent && rule.monitorCommand !== null
    ? powerButton
    : rule.monitorCommand;
}

/** Runs {@link nextCommand}. */
function startStage(s: Step, run: Chain): void {
  const command = nextCommand(s, run);
  const { stop } = s.state;
  if (command === null) {
    run.link = 'wait';
    return;
  }
  run.link = 'command';
  if (run === stop) stop.commandSent = true;
  if (!isButton(command)) s.actions.push({ do: 'command', signal: run.rule.signal, command });
  else if (run !== stop)
    s.actions.push({ do: 'press', signal: run.rule.signal, isRunning: isRunning(s.state.evidence.runState) });
  else {
    stop.buttonAsked = true;
    press(s, stop);
  }
}

export function startNextStage(s: Step, run: Chain, because: NextStageReason): void {
  const command = nextCommand(s, run);
  if (command !== null) notice(s, { event: 'next-link', signal: run.rule.signal, command, because });
  startStage(s, run);
}

export function onHookEnd(s: Step, signal: SignalName, outcome: HookOutcome): void {
  const { state } = s;
  const run = runOf(s, signal);
  if (run?.link !== 'script') return;
  run.hasExited = false;
  const stopping = run === state.stop;
  if (state.end !== null) {
    if (!stopping) finishChain(s, run);
    return;
  }
  switch (outcome.kind) {
    case 'done':
      run.link = 'wait';
      if (!stopping) finishChain(s, run);
      else if (!endIfWaitingIsUseless(s) && state.stop?.reserveCame) startReserve(s, state.stop);
      return;
    case 'not-now':
      notice(s, { event: 'dropped', signal });
      finishChain(s, run);
      return;
    case 'failed':
      if (stopping && endIfWaitingIsUseless(s)) return;
      // A chain that would shut the guest down on a failure does not run beside a shutdown.
      if (!stopping && (state.stop !== null || run.rule.monitorCommand === null)) {
        notice(s, { event: 'failed', signal });
        finishChain(s, run);
        return;
      }
      startNextStage(s, run, 'hook-failed');
      return;
  }
}

export function onCommandEnd(s: Step, signal: SignalName, ok: boolean, isPress: boolean): void {
  const run = runOf(s, signal);
  if (run?.link !== 'command') return;
  const { stop, end } = s.state;
  if (run !== stop) {
    if (!ok) notice(s, { event: 'failed', signal });
    finishChain(s, run);
  } else if (!isPress && end === null && !stop.buttonAsked) {
    // Whatever it was meant to do, the guest is still there.
    stop.link = 'wait';
    if (!ok) startNextStage(s, stop, 'command-failed');
    else if (stop.reserveCame && !stop.powerdown) startNextStage(s, stop, 'command-done');
  }
}

/** The run is over, and QEMU stays. */
function finishChain(s: Step, run: Chain): void {
  const { signal } = run.rule;
  noticeRepeats(s, run);
  if (run === s.state.stop) {
    s.state.stop = null;
    return;
  }
  s.state.runs.delete(signal);
  if (run.isWantedAgain && s.state.stop === null && s.state.end === null) startRun(s, run.rule);
}

export function onReset(s: Step, byGuest: boolean): void {
  const { stop, end } = s.state;
  if (stop === null || end !== null) return;
  // The press that went before is forgotten with the guest that heard it.
  stop.powerdown = false;
  stop.isPressing = false;
  if (stop.presses > 0) {
    // Once it is back, or now where the deadline would come before that.
    const whenBack = s.now + (s.state.limits.pressGaps.at(-1) ?? longestReserveMs);
    stop.nextPressAt = Math.min(stop.nextPressAt, whenBack < stop.deadline ? whenBack : s.now);
  } else if (stop.link === 'script' && stop.reserveCame) {
    startReserve(s, stop);
  } else if (stop.link === 'wait' && (byGuest || stop.reserveCame) && !stop.buttonAsked) {
    startNextStage(s, stop, 'guest-reset');
  }
}

/** The last quarter of the time: it belongs to the power button. */
export function startReserve(s: Step, stop: Shutdown): void {
  const isFirst = !stop.reserveCame;
  stop.reserveCame = true;
  if (stop.powerdown) {
    // Whoever pressed it may still be at work, and has until the deadline. One press more, if more than one is asked for.
    if (isFirst && s.state.limits.pressGaps.length > 0) press(s, stop);
    return;
  }
  if (stop.buttonAsked) return;
  const timedOut = stop.link === 'script';
  if (timedOut) s.actions.push({ do: 'end-hook', signal: stop.rule.signal });
  const { monitorCommand } = stop.rule;
  const commandCame = stop.commandSent && monitorCommand !== null && !isButton(monitorCommand);
  startNextStage(s, stop, timedOut ? 'hook-timeout' : commandCame ? 'command-done' : 'reserve');
}

export function endOverdue(s: Step, run: Chain): void {
  const { signal, monitorCommand } = run.rule;
  const hadScript = run.link === 'script';
  if (hadScript) s.actions.push({ do: 'end-hook', signal });
  if (hadScript && monitorCommand !== null && s.state.stop === null && s.state.end === null) {
    const late: Chain = { ...run, deadline: s.now + s.state.limits.killAfterMs };
    s.state.runs.set(signal, late);
    startNextStage(s, late, 'hook-timeout');
    return;
  }
  notice(s, { event: hadScript ? 'failed' : 'command-timeout', signal });
  finishChain(s, run);
}
