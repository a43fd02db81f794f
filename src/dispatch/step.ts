import type { EndCause } from '../outcome/end-cause.js';
import { type QemuEvent, guestEnded, isExiting, withEvent, withRunState } from '../outcome/evidence.js';
import type { HookOutcome } from '../outcome/hook-outcome.js';
import { goesOnBy, isRunning, uselessToWait } from '../outcome/run-state.js';
import { type Rule, isIgnored } from '../rules/rule.js';
import type { SignalName } from '../signals/names.js';
import type { Action, Input, NextStageReason, Notice } from './messages.js';
import { gapAfter } from './press-gaps.js';
import type { Termination, Chain, State, Shutdown } from './state.js';
import { type Phase, type SignalClass, dispatchTable } from './table.js';

/*
 * What each signal does in each state, and what follows from it. Pure: facts come in with their time, decisions go
 * out as actions; nothing here waits, reads a clock or touches a process. supervise.ts does what the actions say.
 */

const longestReserveMs = 15_000;
/** A second Ctrl-C sooner than this after the first is the same person's impatience, not a decision. */
const ctrlCGapMs = 1_000;
const quietMs = 1_000;
/** A longer gap is time in which this process, or its whole container, stood still. */
const longestGapMs = 2_000;
/** How long a killed process may need to go (its memory is given back, its disks are closed). */
const abandonAfterMs = 30_000;

/** The command that presses the power button; what a rule says of it is pressed by qemu-trap's own way. */
const powerButton = 'system_powerdown';

function isButton(command: string): boolean {
  return command.trim() === powerButton;
}

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
  new Step(state, actions, now).take(input);
  return { state, actions };
}

/** One step of the core over a copy of the state that nobody else has seen. */
class Step {
  constructor(
    private readonly state: State,
    private readonly actions: Action[],
    private readonly now: number,
  ) {}

  take(input: Input): void {
    const { state } = this;
    if (state.stop !== null) this.regainLostTime(state.stop);
    switch (input.kind) {
      case 'signal':
        return this.signal(input.rule, input.times, input.atTerminal);
      case 'monitor-up':
        state.monitorUp = true;
        state.evidence = withRunState(state.evidence, input.runState);
        if (state.end !== null) return;
        if (state.stop?.link === 'start') this.startStop(state.stop);
        for (const run of state.runs.values()) if (run.link === 'start') this.startChain(run);
        return;
      case 'run-state':
        state.evidence = withRunState(state.evidence, input.runState);
        if (state.stop?.link === 'start' && state.monitorUp && state.end === null) this.startStop(state.stop);
        else if (!this.endIfUseless() && state.stop?.powerdown && state.end === null) this.letGoOn(state.stop);
        return;
      case 'powerdown':
        if (state.stop !== null && state.end === null) this.wasPressed(state.stop);
        return;
      case 'qemu':
        return this.qemuEvent(input.event);
      case 'hook-exit': {
        const run = this.runOf(input.signal);
        if (run?.link === 'script') run.hasExited = true;
        return;
      }
      case 'hook-end':
        return this.hookEnd(input.signal, input.outcome);
      case 'command-end':
        return this.commandEnd(input.signal, input.ok, input.isPress);
      case 'gone':
        return this.tellCounts();
      case 'tick':
        return this.tick();
    }
  }

  private qemuEvent(event: QemuEvent): void {
    const { state } = this;
    const before = state.evidence;
    // A hook that restarts its guest, and was overtaken by a shutdown, brings nobody back for longer than QEMU needs to quit.
    const isOver = state.end !== null && state.end.action !== 'none' && guestEnded(before);
    if (isOver && (event.event === 'RESET' || event.event === 'RESUME')) return;
    state.evidence = withEvent(before, event);
    const [exited, exits] = [isExiting(before), isExiting(state.evidence)];
    if (!exited && exits) this.exits();
    let wasBroughtBack = false;
    if (exited && !exits) {
      if (event.event === 'STOP') this.stays();
      else wasBroughtBack = this.goesOn();
    }
    if (event.event === 'RESET' && !wasBroughtBack) this.reset(event.byGuest);
  }

  /**
   * QEMU has said that it exits. From here on nothing is said to it: its monitors' thread would still read it while the
   * main thread takes them down, and QEMU 10.0 crashes on that. It has the time to kill to flush its disks.
   */
  private exits(): void {
    const { state, now } = this;
    const { stop, end } = state;
    if (stop !== null) {
      stop.nextPressAt = Infinity;
      this.endHookForGood(stop);
      this.tellAgain(stop);
    }
    if (end !== null) return;
    const cause = guestEnded(state.evidence) ? 'powered-off' : 'going';
    state.end = { action: 'none', cause, killAt: now + state.limits.killAfterMs, killed: false, abandonAt: Infinity };
  }

  /** No hook has anything to say to a QEMU that exits in a shutdown, or is about to be told to; that of the shutdown ends. */
  private endHookForGood({ link, rule: { signal } }: Shutdown): void {
    this.actions.push({ do: 'silence-hooks' });
    if (link === 'script') this.actions.push({ do: 'end-hook', signal });
  }

  /** QEMU stays after its guest's end (-no-shutdown): in a shutdown it is told to quit, else it is as it was asked to be. */
  private stays(): void {
    const { state, now } = this;
    const { stop, end } = state;
    if (end?.action !== 'none' || end.killed) return;
    if (stop === null) {
      state.end = null;
      return;
    }
    end.action = 'quit';
    end.killAt = now + state.limits.killAfterMs;
    this.actions.push({ do: 'quit' });
  }

  /**
   * The guest runs again, after a reboot within the same QEMU, say.
   * @returns false if QEMU ends all the same
   */
  private goesOn(): boolean {
    const { state } = this;
    if (state.end?.action !== 'none' || state.end.killed) return false;
    state.end = null;
    // What brought it back is not what the shutdown asked for.
    if (state.stop !== null) this.nextLink(state.stop, 'guest-reset');
    return true;
  }

  /** The chain of `signal`, if one is on its way. */
  private runOf(signal: SignalName): Chain | undefined {
    const { stop, runs } = this.state;
    return stop?.rule.signal === signal ? stop : runs.get(signal);
  }

  /** Time in which nothing of this process ran is not the guest's: the deadline moves by it, and the reserve with it. */
  private regainLostTime(stop: Shutdown): void {
    const { now } = this;
    const gap = now - stop.seenAt;
    stop.seenAt = now;
    // A QEMU that exits is waited for without a heartbeat.
    if (gap <= longestGapMs || this.state.end !== null) return;
    const ms = Math.min(gap, stop.rule.timeoutMs - stop.lostMs);
    if (ms <= 0) return;
    const reserveMs = stop.deadline - stop.reserveAt;
    stop.lostMs += ms;
    stop.deadline += ms;
    stop.reserveAt = stop.deadline - reserveMs;
    this.tell({ event: 'lost-time', signal: stop.rule.signal, ms });
  }

  private tellCounts(): void {
    const { stop, runs, ignored } = this.state;
    if (stop !== null) this.tellAgain(stop);
    for (const run of runs.values()) this.tellAgain(run);
    for (const [signal, { more }] of ignored) if (more > 0) this.tell({ event: 'ignored', signal, times: more });
    ignored.clear();
  }

  private tell(notice: Notice): void {
    this.actions.push({ do: 'tell', notice });
  }

  private signal(rule: Rule, times: number, atTerminal: boolean): void {
    const { state, now } = this;
    const { signal } = rule;
    const reaction = dispatchTable[phaseFor(signal, state)][classOf(rule, state, atTerminal, now)];
    switch (reaction) {
      case 'begin':
        this.begin(rule);
        break;
      case 'run': {
        this.run(rule);
        return;
      }
      case 'coalesce': {
        const run = this.runOf(signal);
        if (run?.hasExited && run !== state.stop) run.isWantedAgain = true;
        else if (run) run.again += times;
        break;
      }
      case 'stands':
      case 'refuse':
        this.tellOnce(signal, reaction === 'refuse' ? 'refused' : 'stands');
        break;
      case 'cut':
        // One that ends already has no more than the time to kill left.
        if (state.end === null) this.end('cut');
        else this.tellOnce(signal, 'stands');
        return;
      case 'ignore':
        this.ignore(signal, times);
        return;
    }
    if (atTerminal && signal === 'SIGINT' && state.stop !== null && state.stop.ctrlCAt === null && state.end === null) {
      state.stop.ctrlCAt = now;
      this.tell({ event: 'again-to-force' });
    }
  }

  private run(rule: Rule): void {
    const { state, now } = this;
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
    if (state.monitorUp) this.startChain(run);
  }

  private tellOnce(signal: SignalName, event: 'stands' | 'refused'): void {
    const { stop } = this.state;
    if (stop === null || stop.told.has(signal) || stop.rule.signal === signal) return;
    this.state.stop = { ...stop, told: new Set([...stop.told, signal]) };
    this.tell({ event, signal, first: stop.rule.signal });
  }

  private ignore(signal: SignalName, times: number): void {
    // Service managers send SIGCONT after SIGTERM, to wake what was stopped.
    // A terminal sends SIGWINCH with each change of its size.
    if (signal === 'SIGCONT' || signal === 'SIGWINCH') return;
    const ignored = this.state.ignored.get(signal);
    if (ignored) {
      this.state.ignored.set(signal, { until: ignored.until, more: ignored.more + times });
    } else {
      this.tell({ event: 'ignored', signal, times });
      this.state.ignored.set(signal, { until: this.now + quietMs, more: 0 });
    }
  }

  private begin(rule: Rule): void {
    const { state, now } = this;
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
      this.tellOnce(signal, 'refused');
    }
    // QEMU exits just now: there is nobody left to ask, and if it stays, it is told to quit.
    if (state.end !== null) return;
    if (rule.script === null && rule.monitorCommand === null) {
      this.end('asked');
      return;
    }
    this.tell({ event: 'shutdown', signal: rule.signal, timeoutMs: rule.timeoutMs, waitsForMonitor: !state.monitorUp });
    if (!state.monitorUp) return;
    // Not every change of a guest that stands still is an event: what is known of it may be old.
    if (isRunning(state.evidence.runState)) this.startStop(state.stop);
    else this.actions.push({ do: 'ask-run-state' });
  }

  private startStop(stop: Shutdown): void {
    if (!this.endIfUseless()) this.startChain(stop);
  }

  private startChain(run: Chain): void {
    if (run.rule.script !== null) {
      run.link = 'script';
      this.actions.push({ do: 'run-hook', rule: run.rule, deadline: run.deadline });
    } else {
      this.startStage(run);
    }
  }

  /** The command that comes after the hook: the rule's own, once, and in a shutdown then the power button. */
  private nextCommand(run: Chain): string | null {
    const { rule } = run;
    return run === this.state.stop && this.state.stop.commandSent && rule.monitorCommand !== null
      ? powerButton
      : rule.monitorCommand;
  }

  /** Runs {@link nextCommand}. */
  private startStage(run: Chain): void {
    const command = this.nextCommand(run);
    const { stop } = this.state;
    if (command === null) {
      run.link = 'wait';
      return;
    }
    run.link = 'command';
    if (run === stop) stop.commandSent = true;
    if (!isButton(command)) this.actions.push({ do: 'command', signal: run.rule.signal, command });
    else if (run !== stop)
      this.actions.push({ do: 'press', signal: run.rule.signal, isRunning: isRunning(this.state.evidence.runState) });
    else {
      stop.buttonAsked = true;
      this.press(stop);
    }
  }

  private press(stop: Shutdown): void {
    const { pressGaps } = this.state.limits;
    const cancels = pressGaps.length === 0 && stop.powerdown;
    if (!cancels) {
      this.actions.push({ do: 'press', signal: stop.rule.signal, isRunning: isRunning(this.state.evidence.runState) });
      stop.isPressing = true;
    }
    stop.presses++;
    stop.nextPressAt = this.now + gapAfter(pressGaps, stop.presses);
  }

  /** The button was pressed, by whomever: from its first press on, pressing it is qemu-trap's. */
  private wasPressed(stop: Shutdown): void {
    const isFirst = !stop.powerdown;
    stop.powerdown = true;
    if (!stop.isPressing) {
      stop.presses++;
      stop.nextPressAt = this.now + gapAfter(this.state.limits.pressGaps, stop.presses);
    }
    stop.isPressing = false;
    if (isFirst) this.letGoOn(stop);
  }

  /** A guest that stands still does not hear its button. */
  private letGoOn(stop: Shutdown): void {
    if (goesOnBy(this.state.evidence.runState) !== null)
      this.actions.push({ do: 'let-go-on', signal: stop.rule.signal });
  }

  private nextLink(run: Chain, because: NextStageReason): void {
    const command = this.nextCommand(run);
    if (command !== null) this.tell({ event: 'next-link', signal: run.rule.signal, command, because });
    this.startStage(run);
  }

  private hookEnd(signal: SignalName, outcome: HookOutcome): void {
    const { state } = this;
    const run = this.runOf(signal);
    if (run?.link !== 'script') return;
    run.hasExited = false;
    const stopping = run === state.stop;
    if (state.end !== null) {
      if (!stopping) this.finish(run);
      return;
    }
    switch (outcome.kind) {
      case 'done':
        run.link = 'wait';
        if (!stopping) this.finish(run);
        else if (!this.endIfUseless() && state.stop?.reserveCame) this.reserve(state.stop);
        return;
      case 'not-now':
        this.tell({ event: 'dropped', signal });
        this.finish(run);
        return;
      case 'failed':
        if (stopping && this.endIfUseless()) return;
        // A chain that would shut the guest down on a failure does not run beside a shutdown.
        if (!stopping && (state.stop !== null || run.rule.monitorCommand === null)) {
          this.tell({ event: 'failed', signal });
          this.finish(run);
          return;
        }
        this.nextLink(run, 'hook-failed');
        return;
    }
  }

  private commandEnd(signal: SignalName, ok: boolean, isPress: boolean): void {
    const run = this.runOf(signal);
    if (run?.link !== 'command') return;
    const { stop, end } = this.state;
    if (run !== stop) {
      if (!ok) this.tell({ event: 'failed', signal });
      this.finish(run);
    } else if (!isPress && end === null && !stop.buttonAsked) {
      // Whatever it was meant to do, the guest is still there.
      stop.link = 'wait';
      if (!ok) this.nextLink(stop, 'command-failed');
      else if (stop.reserveCame && !stop.powerdown) this.nextLink(stop, 'command-done');
    }
  }

  /** The run is over, and QEMU stays. */
  private finish(run: Chain): void {
    const { signal } = run.rule;
    this.tellAgain(run);
    if (run === this.state.stop) {
      this.state.stop = null;
      return;
    }
    this.state.runs.delete(signal);
    if (run.isWantedAgain && this.state.stop === null && this.state.end === null) this.run(run.rule);
  }

  private tellAgain(run: Chain): void {
    if (run.again > 0) this.tell({ event: 'coalesced', signal: run.rule.signal, times: run.again });
    run.again = 0;
  }

  private reset(byGuest: boolean): void {
    const { stop, end } = this.state;
    if (stop === null || end !== null) return;
    // The press that went before is forgotten with the guest that heard it.
    stop.powerdown = false;
    stop.isPressing = false;
    if (stop.presses > 0) {
      // Once it is back, or now where the deadline would come before that.
      const whenBack = this.now + (this.state.limits.pressGaps.at(-1) ?? longestReserveMs);
      stop.nextPressAt = Math.min(stop.nextPressAt, whenBack < stop.deadline ? whenBack : this.now);
    } else if (stop.link === 'script' && stop.reserveCame) {
      this.reserve(stop);
    } else if (stop.link === 'wait' && (byGuest || stop.reserveCame) && !stop.buttonAsked) {
      this.nextLink(stop, 'guest-reset');
    }
  }

  /** If no wait is of any use: the default action now, or `quit` to a QEMU that only stays. */
  private endIfUseless(): boolean {
    const { state } = this;
    const cause = uselessToWait(state.evidence.runState);
    if (cause === null || state.stop === null || state.end !== null || !state.monitorUp) return false;
    this.end(cause);
    return true;
  }

  private end(cause: EndCause): void {
    const { state, now } = this;
    const { stop } = state;
    if (stop === null || state.end !== null) return;
    const action = cause !== 'powered-off' && stop.rule.defaultAction === 'kill' ? 'kill' : 'quit';
    this.endHookForGood(stop);
    stop.nextPressAt = Infinity;
    this.tellAgain(stop);
    state.end = { action, cause, killAt: now + state.limits.killAfterMs, killed: false, abandonAt: Infinity };
    if (cause !== 'powered-off') this.tell({ event: 'default-action', signal: stop.rule.signal, action, cause });
    if (action === 'kill') this.kill(state.end);
    else this.actions.push({ do: 'quit' });
  }

  private kill(end: Termination): void {
    end.killed = true;
    end.abandonAt = this.now + abandonAfterMs;
    if (end.action === 'none') this.tell({ event: 'exit-hangs', afterMs: this.state.limits.killAfterMs });
    else if (end.action !== 'kill') this.tell({ event: 'kill', cause: end.cause });
    this.actions.push({ do: 'kill' });
  }

  private tick(): void {
    const { state, now } = this;
    const { end, stop } = state;
    if (end !== null) {
      if (!end.killed && now >= end.killAt) this.kill(end);
      else if (end.killed && now >= end.abandonAt) {
        end.abandonAt = Infinity;
        this.tell({ event: 'abandoned' });
        this.actions.push({ do: 'abandon' });
      }
    } else if (stop !== null) {
      // In this order: a tick that comes late still gives the last link its turn.
      if (now >= stop.reserveAt && !stop.reserveCame && state.monitorUp) this.reserve(stop);
      if (now >= stop.deadline) this.end('deadline');
      else if (now >= stop.nextPressAt) this.press(stop);
    }
    for (const run of [...state.runs.values()]) if (now >= run.deadline) this.overdue(run);
    for (const [signal, ignored] of state.ignored) {
      if (now < ignored.until) continue;
      state.ignored.delete(signal);
      if (ignored.more > 0) this.tell({ event: 'ignored', signal, times: ignored.more });
    }
  }

  /** The last quarter of the time: it belongs to the power button. */
  private reserve(stop: Shutdown): void {
    const isFirst = !stop.reserveCame;
    stop.reserveCame = true;
    if (stop.powerdown) {
      // Whoever pressed it may still be at work, and has until the deadline. One press more, if more than one is asked for.
      if (isFirst && this.state.limits.pressGaps.length > 0) this.press(stop);
      return;
    }
    if (stop.buttonAsked) return;
    const timedOut = stop.link === 'script';
    if (timedOut) this.actions.push({ do: 'end-hook', signal: stop.rule.signal });
    const { monitorCommand } = stop.rule;
    const commandCame = stop.commandSent && monitorCommand !== null && !isButton(monitorCommand);
    this.nextLink(stop, timedOut ? 'hook-timeout' : commandCame ? 'command-done' : 'reserve');
  }

  private overdue(run: Chain): void {
    const { signal, monitorCommand } = run.rule;
    const hadScript = run.link === 'script';
    if (hadScript) this.actions.push({ do: 'end-hook', signal });
    if (hadScript && monitorCommand !== null && this.state.stop === null && this.state.end === null) {
      const late: Chain = { ...run, deadline: this.now + this.state.limits.killAfterMs };
      this.state.runs.set(signal, late);
      this.nextLink(late, 'hook-timeout');
      return;
    }
    this.tell({ event: hadScript ? 'failed' : 'command-timeout', signal });
    this.finish(run);
  }
}
