import type { Log } from '../log/log.js';
import type { HookOutcome } from '../outcome/hook-outcome.js';
import { formatSeconds } from '../system/duration.js';
import { within } from '../system/settled-within.js';
import { errorText } from '../system/usage-error.js';
import { graceMs } from './descendants.js';
import type { HookFacts } from './environment.js';
import { type Around, type HookDirs, type HookFile, findAround } from './find.js';
import { type OutputPipe, OutputPipes } from './output-pipes.js';
import { type HookRun, runHook } from './process.js';
import { stepsOf } from './steps.js';

/** How long a hook around a run of QEMU has, in milliseconds, all its steps together; what it leaves has its grace besides. */
export const aroundTimeoutMs: Readonly<Record<Around, number>> = { start: 30_000, end: 10_000 };

/** How long what a hook has left may take to be ended: its grace period, and the kernel's time. */
const clearedWithinMs = graceMs + 5_000;
/** How long mkfifo(1) is waited for at the end. */
const lastPipesMs = 500;

interface AroundCall {
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
  let sayCut!: () => void;
  const cut = new Promise<void>((resolve) => (sayCut = resolve));
  const runSteps = async (): Promise<HookOutcome> => {
    const steps = stepsOf(script);
    if ('fault' in steps) return failed(call, script.path, steps.fault);
    const pipes = new OutputPipes(call.file);
    try {
      for (const file of steps.files) {
        const output = await pipes.take();
        // Where it was cut short meanwhile, the pipe goes with the others.
        if (wasCut && output !== null) pipes.putBack(output);
        if (wasCut) return wasCutShort(call, file.path, null);
        const outcome = await runStep(call, file, { deadline, cut }, output, (run) => (current = run));
        if (outcome.kind !== 'done') return outcome;
      }
      return { kind: 'done' };
    } finally {
      await within(lastPipesMs, pipes.close());
    }
  };
  return {
    ended: runSteps().catch((error: unknown) => failed(call, script.path, `cannot be run (${errorText(error)})`)),
    cut: () => {
      wasCut = true;
      sayCut();
      current?.end();
    },
  };
}

/** When a hook has to be over. */
interface Limits {
  /** On the clock of `performance.now()`. */
  readonly deadline: number;
  /** Settled when it is cut short. */
  readonly cut: Promise<void>;
}

async function runStep(
  call: AroundCall,
  file: HookFile,
  { deadline, cut }: Limits,
  output: OutputPipe | null,
  started: (run: HookRun) => void,
): Promise<HookOutcome> {
  const { which, log } = call;
  const hook = file.path;
  const startedAt = performance.now();
  const run = runHook({
    file,
    argument: which,
    facts: { ...call.facts, leftMs: deadline - startedAt },
    inherited: call.inherited,
    monitor: null,
    output,
    onOutput: (chunk) => log.hookOutput(hook, chunk),
  });
  started(run);
  if (run.pid !== undefined)
    log({
      event: 'hook-start',
      level: 'info',
      message: `running hook ${hook} (pid ${run.pid})`,
      facts: { occasion: which, hook, pid: run.pid },
    });
  let isLate = false;
  let isCut = false;
  void cut.then(() => (isCut = true));
  const timer = setTimeout(() => {
    isLate = true;
    run.end();
  }, deadline - performance.now());
  // Longer than this, the kernel holds it: it does not end even on SIGKILL.
  const cutInVain = cut.then(() => new Promise((resolve) => setTimeout(resolve, clearedWithinMs).unref()));
  const outcome = (await Promise.race([
    within(deadline - performance.now() + clearedWithinMs, run.ended),
    cutInVain,
  ])) as HookOutcome | undefined;
  clearTimeout(timer);
  if (outcome === undefined) return failed(call, hook, 'does not exit, even on SIGKILL');
  await within(clearedWithinMs, run.cleared);
  const ms = Math.round(performance.now() - startedAt);
  if (isCut && outcome.kind === 'failed') return wasCutShort(call, hook, ms);
  if (isLate) return failed(call, hook, `did not exit within ${formatSeconds(aroundTimeoutMs[which])}`, ms);
  if (outcome.kind === 'failed') return failed(call, hook, outcome.why, run.pid === undefined ? null : ms);
  log({
    event: 'hook-end',
    level: 'info',
    message: `hook ${hook} ${outcome.kind === 'done' ? 'succeeded' : 'said "not now"'} after ${formatSeconds(ms)}`,
    facts: { occasion: which, hook, outcome: outcome.kind, ms },
  });
  return outcome;
}

/** @param ms how long it ran; `null` where it did not */
function wasCutShort({ which, log }: AroundCall, hook: string, ms: number | null): HookOutcome {
  log({
    event: 'hook-end',
    level: 'info',
    message: `hook ${hook} ${ms === null ? 'was not run: a signal came' : `was stopped by a signal after ${formatSeconds(ms)}`}`,
    facts: { occasion: which, hook, outcome: 'ended', ms },
  });
  return { kind: 'failed', why: 'was cut short' };
}

/** @param ms how long it ran; `null` where it did not */
function failed({ which, log }: AroundCall, hook: string, why: string, ms: number | null = null): HookOutcome {
  log({
    event: 'hook-end',
    level: 'warning',
    message: `hook ${hook} ${why}`,
    facts: { occasion: which, hook, outcome: 'failed', why, ms },
  });
  return { kind: 'failed', why };
}
