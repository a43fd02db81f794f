import { closeSync } from 'node:fs';
import type { Socket } from 'node:net';
import type { Log } from '../log/log.js';
import type { HookOutcome } from '../outcome/hook-outcome.js';
import { runFiles } from '../run-dir/files.js';
import { startTimer, type Timer, within } from '../system/timer.js';
import { errorText } from '../system/usage-error.js';
import { graceMs } from './descendants.js';
import { type HookFacts, withoutMonitor } from './environment.js';
import type { HookFile } from './find.js';
import type { HookGroups } from './hook-groups.js';
import { openInput } from './input-file.js';
import { type HookEnd, type HookSubject, type StopReason, logHookEnd, logHookStart, nameOf } from './log-lines.js';
import type { OutputPipe, OutputPipes } from './output-pipes.js';
import { type HookProcess, startHook } from './process.js';
import { stepsOf } from './steps.js';

/** How long a hook that was told to exit, and what it left, may take: the grace period, and the kernel's time. */
const goneWithinMs = graceMs + 5_000;

/** What every hook of a VM is told. */
export type CommonFacts = Omit<HookFacts, 'runId' | 'hook' | 'leftMs' | 'occasion'>;

/** What all runs of one VM's hooks have. */
export interface RunParts {
  readonly facts: CommonFacts;
  readonly inherited: NodeJS.ProcessEnv;
  readonly groups: HookGroups;
  readonly pipes: OutputPipes;
  readonly log: Log;
  /** Gives the path of a file in the run directory. */
  file(name: string): string;
}

/** Where the connection to a monitor comes from, one for each step. */
interface Connections {
  /** @returns `null` if none is ready */
  takeReady(): Socket | null;
  /** @returns `null` if there is none to be had */
  take(): Promise<Socket | null>;
  /** Takes a connection back that no hook has had. */
  putBack(connection: Socket): void;
}

/** One step of a hook has been reaped, or could not be run. */
export interface StepEnd {
  readonly hook: string;
  readonly outcome: HookOutcome;
  readonly connection: Socket | null;
  /** No other step follows. */
  readonly isLast: boolean;
}

/** A hook that is to be run: a file, or a directory of steps, one after the other until one fails. */
export interface HookJob {
  readonly subject: HookSubject;
  readonly script: HookFile;
  /** On the clock of `performance.now()`. */
  readonly deadline: number;
  /** The hook is stopped at its deadline. If `false`, the caller does that. */
  readonly stopsAtDeadline: boolean;
  /** What the environment says of this run only. */
  readonly variables: HookFacts['occasion'];
  /** What it reads on its stdin, if there is anything. */
  readonly input?: string;
  /** `null`: the hook gets no monitor. */
  readonly connections: Connections | null;
  /** If `false`, the hook is run without one, too. */
  readonly needsMonitor?: boolean;
  /** Asked when all is ready for a step. */
  readonly isWanted: () => boolean;
  /** Called when a step has been reaped; the next one waits for it. */
  readonly onStepEnd: (end: StepEnd) => Promise<void>;
}

export interface RunningHook {
  /** Settled once, never rejected; `null` if it was not wanted any more. */
  readonly outcome: Promise<HookOutcome | null>;
  /** Stops the hook and all that it started: SIGTERM, and SIGKILL after the grace period. */
  stop(why: StopReason): void;
  /** It is to end earlier than was said. @param deadline on the clock of `performance.now()` */
  endBy(deadline: number): void;
  /** Settled when nothing is left of what was started so far, or the kernel holds it. */
  leftoversGone(): Promise<void>;
}

/** One run of a hook, step by step. */
export class HookRun implements RunningHook {
  readonly outcome: Promise<HookOutcome | null>;
  readonly #startedAt = performance.now();
  #timeoutMs: number;
  #timer: Timer | null;
  #process: HookProcess | null = null;
  readonly #leftovers: Promise<void>[] = [];
  #stopReason: StopReason | null = null;
  #sayStopped!: () => void;
  readonly #stopped = new Promise<void>((resolve) => (this.#sayStopped = resolve));

  constructor(
    private readonly parts: RunParts,
    private readonly job: HookJob,
  ) {
    const { deadline, stopsAtDeadline, script } = job;
    this.#timeoutMs = deadline - this.#startedAt;
    this.#timer = stopsAtDeadline ? startTimer(this.#timeoutMs, () => this.stop('timeout')) : null;
    this.outcome = this.#runSteps()
      .catch((error: unknown) => this.#failed(script.path, `cannot be run (${errorText(error)})`))
      .finally(() => this.#timer?.cancel());
  }

  stop(why: StopReason): void {
    this.#stopReason ??= why;
    this.#sayStopped();
    this.#process?.stop();
  }

  endBy(deadline: number): void {
    const timeoutMs = deadline - this.#startedAt;
    if (this.#timer === null || timeoutMs >= this.#timeoutMs) return;
    this.#timeoutMs = timeoutMs;
    this.#timer.cancel();
    this.#timer = startTimer(deadline - performance.now(), () => this.stop('timeout'));
  }

  async leftoversGone(): Promise<void> {
    await within(goneWithinMs, Promise.all(this.#leftovers));
  }

  async #runSteps(): Promise<HookOutcome | null> {
    const steps = stepsOf(this.job.script);
    if ('fault' in steps) {
      await logsOfThisTurn;
      return this.#failed(this.job.script.path, steps.fault);
    }
    for (const file of steps.files) {
      const outcome = await this.#runStep(file, file === steps.files.at(-1));
      if (outcome?.kind !== 'done') return outcome;
    }
    return { kind: 'done' };
  }

  async #runStep(file: HookFile, isLast: boolean): Promise<HookOutcome | null> {
    const { parts, job } = this;
    const startedAt = performance.now();
    const { connections } = job;
    const connection = connections && (connections.takeReady() ?? (await connections.take()));
    const hasAll = connections === null || connection !== null || job.needsMonitor === false;
    const isTooLate = (): boolean => this.#stopReason !== null || !job.isWanted();
    // Not for one that is too late: pipes that are made after the last hook stay in the run directory.
    const pipes = hasAll && !isTooLate() ? parts.pipes : null;
    const output = pipes && (pipes.takeReady() ?? (await pipes.take()));
    if (isTooLate()) {
      if (output !== null) pipes?.putBack(output);
      if (connection !== null) connections?.putBack(connection);
      if (this.#stopReason !== 'signal') return null;
      return this.#end({ hook: file.path, outcome: { kind: 'failed', why: 'was not run' }, ms: null });
    }
    if (!hasAll) return this.#failed(file.path, 'cannot be run: QEMU gave it no monitor');

    const hook = this.#start(file, connection, output);
    await logsOfThisTurn;
    if (hook.pid !== undefined) logHookStart(parts.log, job.subject, file.path, hook.pid);
    const reaped = await this.#reap(hook);
    // What it left behind is no part of the next step, nor of what waits for `start`.
    if (connections === null) await this.leftoversGone();
    const ms = hook.pid === undefined ? null : Math.round(performance.now() - startedAt);
    const outcome = this.#end({ hook: file.path, outcome: reaped, ms });
    await job.onStepEnd({ hook: file.path, outcome, connection, isLast });
    return outcome;
  }

  #start(file: HookFile, connection: Socket | null, output: OutputPipe | null): HookProcess {
    const { parts, job } = this;
    const input = this.#openInput();
    const hasMonitor = connection !== null;
    const occasion = hasMonitor ? job.variables : withoutMonitor(job.variables);
    const hook = startHook({
      file,
      argument: nameOf(job.subject),
      facts: { ...parts.facts, occasion, leftMs: job.deadline - performance.now() },
      inherited: hasMonitor ? parts.inherited : withoutMonitor(parts.inherited),
      input,
      monitor: connection,
      output,
      groups: parts.groups,
      onOutput: (chunk) => parts.log.hookOutput(file.path, chunk),
    });
    if (input !== null) closeSync(input);
    this.#process = hook;
    this.#leftovers.push(hook.cleared);
    return hook;
  }

  /** A hook is run without its input, too, if there is no room for that. */
  #openInput(): number | null {
    const { parts, job } = this;
    if (job.input === undefined) return null;
    try {
      return openInput(parts.file(runFiles.input), job.input);
    } catch (error) {
      parts.log({
        event: 'no-input',
        level: 'warning',
        message: `hook ${job.script.path} is run without its stdin, which cannot be written (${errorText(error)})`,
        facts: { hook: job.script.path },
      });
      return null;
    }
  }

  /** How the hook ended. One that the kernel holds, so that SIGKILL does not end it, is not waited for. */
  async #reap(hook: HookProcess): Promise<HookOutcome> {
    const heldByKernel = this.#stopped.then(
      () => new Promise<undefined>((resolve) => startTimer(goneWithinMs, () => resolve(undefined)).unref()),
    );
    const outcome = await Promise.race([hook.ended, heldByKernel]);
    return outcome ?? { kind: 'failed', why: 'does not exit, even on SIGKILL' };
  }

  #failed(hook: string, why: string): HookOutcome {
    return this.#end({ hook, outcome: { kind: 'failed', why }, ms: null });
  }

  #end(end: Pick<HookEnd, 'hook' | 'outcome' | 'ms'>): HookOutcome {
    const { subject, stopsAtDeadline } = this.job;
    const stopReason = this.#stopReason;
    const overdueMs = stopsAtDeadline && stopReason === 'timeout' ? this.#timeoutMs : null;
    return logHookEnd(this.parts.log, { ...end, subject, stopReason, overdueMs });
  }
}

/**
 * What led to a hook is logged in the turn in which the hook is started, and after it, so that the log costs the hook
 * no time. A promise that is settled already orders a line of the hook's after those (microtasks run when the turn is
 * over).
 */
const logsOfThisTurn = Promise.resolve();
