import { type LifecycleHook, findLifecycleHook, lifecycleTimeoutMs } from '../hook/find.js';
import type { RunningHook } from '../hook/run.js';
import type { HookRunner } from '../hook/runner.js';
import type { HookOutcome } from '../outcome/hook-outcome.js';
import type { Prevention } from '../outcome/ending.js';
import { ruleFor } from '../rules/resolve.js';
import { keep, onTrapped } from '../signals/trap.js';
import { onSignalsAfterQemu } from './after-qemu.js';
import type { RunContext } from './context.js';
import type { Ended } from './kept-record.js';

/** The hooks before QEMU's start and after its end. */
export class LifecycleHooks {
  constructor(
    private readonly context: RunContext,
    private readonly runner: HookRunner,
  ) {}

  /**
   * Runs the hook `start`. A signal that stops a VM stops the hook, because no guest is there yet to shut down; any
   * other signal waits for QEMU.
   * @returns why QEMU must not be started
   */
  async start(): Promise<Prevention | null> {
    const signals: NonNullable<Prevention['stop']>[] = [];
    const outcome = await this.#run('start', {}, (run) =>
      onTrapped((trapped) => {
        if (ruleFor(trapped.signal, this.context.book).defaultAction === 'none') return keep(trapped);
        signals.push({ signal: trapped.signal, since: trapped.at });
        run.stop('signal');
      }),
    );
    const stop = signals[0] ?? null;
    if (stop !== null) return { words: `${stop.signal} came during the hook start`, stop };
    if (outcome?.kind === 'failed') return { words: `the hook start ${outcome.why}`, stop };
    if (outcome?.kind === 'not-now') return { words: 'the hook start said "not now"', stop };
    return null;
  }

  /** Runs the hook `end`, which is told how the VM ended. */
  async end(how: Ended): Promise<void> {
    const variables = {
      QEMU_TRAP_END: how.end,
      QEMU_TRAP_VERDICT: how.verdict,
      QEMU_TRAP_CUT_OFF: how.cut_off ? 'yes' : 'no',
      QEMU_TRAP_STATUS: String(how.status),
      QEMU_TRAP_SIGNAL: how.signal ?? '',
      QEMU_TRAP_BUTTON: how.button ?? '',
      QEMU_TRAP_SECONDS: (how.ms / 1000).toFixed(2),
      QEMU_TRAP_MESSAGE: how.message,
    };
    await this.#run('end', variables, (run) => onSignalsAfterQemu(this.context.log, () => run.stop('signal')));
  }

  /**
   * @param trap has the signals meanwhile, and returns what ends that
   * @returns `undefined` if there is no such hook
   */
  async #run(
    occasion: Exclude<LifecycleHook, 'ready'>,
    variables: Readonly<Record<string, string>>,
    trap: (run: RunningHook) => () => void,
  ): Promise<HookOutcome | null | undefined> {
    const { book, runsHookOf } = this.context;
    const script = findLifecycleHook(occasion, book.dirs)[0];
    if (script === undefined || !runsHookOf(occasion)) return undefined;
    const run = this.runner.run({
      subject: { occasion },
      script,
      deadline: performance.now() + lifecycleTimeoutMs[occasion],
      stopsAtDeadline: true,
      variables,
      connections: null,
      isWanted: () => true,
      onStepEnd: () => Promise.resolve(),
    });
    const untrap = trap(run);
    const outcome = await run.outcome;
    untrap();
    await this.runner.release();
    return outcome;
  }
}
