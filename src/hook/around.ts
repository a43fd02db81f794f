import type { Log } from '../log.js';
import type { HookOutcome } from '../outcome.js';
import { wordSeconds } from '../seconds.js';
import type { HookFacts } from './environment.js';
import { findAround, type Around, type HookDirs } from './find.js';
import { OutputPipes } from './output-pipes.js';
import { runHook, type HookRun } from './run.js';
import { stepsOf } from './steps.js';

/** How long a hook around a run of QEMU has, in milliseconds, all its steps together; what it leaves has its grace besides. */
export const aroundTimeoutMs: Readonly<Record<Around, number>> = { start: 30_000, end: 10_000 };

export interface AroundCall {
  readonly which: Around;
  readonly dirs: HookDirs;
  readonly facts: Omit<HookFacts, 'cookie' | 'hook' | 'leftMs'>;
  readonly inherited: NodeJS.ProcessEnv;
  /** Gives the path of a file in the run directory. */
  readonly file: (name: string) => string;
  readonly log: Log;
}

/** A run of the hook `start` or `end`. */
export interface AroundRun {
  /** Settled when nothing of the hook is left; never rejected. */
  readonly ended: Promise<HookOutcome>;
  /** Ends it before its time. */
  cut(): void;
}

/**
 * Runs what the hooks directory has under the name `start` or `end`: its steps in their order, until one fails.
 * @returns `null` where there is nothing of that name
 */
export function runAround(call: AroundCall): AroundRun | null {
  const { which, dirs } = call;
  const script = findAround(which, dirs)[0];
  if (script === undefined) return null;

  const deadline = performance.now() + aroundTimeoutMs[which];
  let current: HookRun | null = null;
  let wasCut = false;
  const runSteps = async (): Promise<HookOutcome> => {
    const steps = stepsOf(script);
    if ('fault' in steps) return failed(call, script.path, steps.fault);
    const pipes = new OutputPipes(call.file);
    try {
      for (const file of steps.files) {
        if (wasCut) return { kind: 'failed', why: 'was cut short' };
        const outcome = await runStep(call, file, deadline, pipes, (run) => (current = run));
        if (outcome.kind !== 'done') return outcome;
      }
      return { kind: 'done' };
    } finally {
      await pipes.close();
    }
  };
  return {
    ended: runSteps().catch((error: unknown) => failed(call, script.path, `cannot be run (${error instanceof Error ? error.message : String(error)})`)),
    cut: () => {
      wasCut = true;
      current?.end();
    },
  };
}

async function runStep(call: AroundCall, file: { path: string; ours: boolean }, deadline: number, pipes: OutputPipes, started: (run: HookRun) => void): Promise<HookOutcome> {
  const { which, log } = call;
  const hook = file.path;
  const startedAt = performance.now();
  const run = runHook({
    file,
    argument: which,
    facts: { ...call.facts, leftMs: deadline - startedAt },
    inherited: call.inherited,
    monitor: null,
    output: await pipes.take(),
    onOutput: (chunk) => log.hookOutput(hook, chunk),
  });
  started(run);
  if (run.pid !== undefined) log({ event: 'hook-start', level: 'info', message: `running hook ${hook} (pid ${run.pid})`, facts: { occasion: which, hook, pid: run.pid } });
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    run.end();
  }, deadline - performance.now());
  const outcome = await run.ended;
  clearTimeout(timer);
  await run.cleared;
  const ms = Math.round(performance.now() - startedAt);
  if (isLate) return failed(call, hook, `has not ended within ${wordSeconds(aroundTimeoutMs[which])}`, ms);
  if (outcome.kind === 'failed') return failed(call, hook, outcome.why, run.pid === undefined ? null : ms);
  log({
    event: 'hook-end', level: 'info',
    message: `hook ${hook} ${outcome.kind === 'done' ? 'ended well' : 'says not now'} after ${wordSeconds(ms)}`,
    facts: { occasion: which, hook, outcome: outcome.kind, ms },
  });
  return outcome;
}

/** @param ms how long it ran; `null` where it did not */
function failed({ which, log }: AroundCall, hook: string, why: string, ms: number | null = null): HookOutcome {
  log({ event: 'hook-end', level: 'warning', message: `hook ${hook} ${why}`, facts: { occasion: which, hook, outcome: 'failed', why, ms } });
  return { kind: 'failed', why };
}
