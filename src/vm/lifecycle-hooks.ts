import { inheritedEnvironment } from '../hook/environment.js';
import type { Around } from '../hook/find.js';
import { type AroundRun, runAround } from '../hook/lifecycle.js';
import type { Prevention } from '../outcome/ending.js';
import { ruleFor } from '../rules/resolve.js';
import type { RunDir } from '../run-dir/run-dir.js';
import { keep, onTrapped } from '../signals/trap.js';
import { atTerminal } from '../system/terminal.js';
import type { RunContext } from './context.js';
import { hookFacts } from './hook-facts.js';
import type { Ended } from './kept-record.js';

/** The hooks before QEMU's start and after its end. */
export class LifecycleHooks {
  constructor(
    private readonly context: RunContext,
    private readonly runDir: RunDir,
  ) {}

  /**
   * Runs the hook `start`. A signal that ends a VM ends it, because there is no guest yet that would have to be asked;
   * any other waits for QEMU.
   * @returns why QEMU must not be started
   */
  async start(): Promise<Prevention | null> {
    const run = this.#run('start', {});
    if (run === null) return null;
    let stop: Prevention['stop'] = null;
    const untrap = onTrapped((trapped) => {
      if (ruleFor(trapped.signal, this.context.book).defaultAction === 'none') return keep(trapped);
      stop ??= { signal: trapped.signal, since: trapped.at };
      run.cut();
    });
    const outcome = await run.ended;
    untrap();
    if (stop !== null) return { words: 'the hook start was still running', stop };
    if (outcome.kind === 'done') return null;
    return { words: `the hook start ${outcome.kind === 'failed' ? outcome.why : 'said "not now"'}`, stop };
  }

  /** Runs the hook `end`, which is told how it ended. */
  async end(how: Ended): Promise<void> {
    const run = this.#run('end', {
      QEMU_TRAP_END: how.end,
      QEMU_TRAP_VERDICT: how.verdict,
      QEMU_TRAP_CUT_OFF: how.cut_off ? 'yes' : 'no',
      QEMU_TRAP_STATUS: String(how.status),
      QEMU_TRAP_SIGNAL: how.signal ?? '',
      QEMU_TRAP_SECONDS: (how.ms / 1000).toFixed(2),
      QEMU_TRAP_MESSAGE: how.message,
    });
    if (run === null) return;
    // What came before was for QEMU.
    const since = performance.now();
    const untrap = onTrapped(({ signal, at }) => {
      if (at < since) return;
      if (signal === 'SIGQUIT' || (signal === 'SIGINT' && atTerminal)) run.cut();
    });
    await run.ended;
    untrap();
  }

  #run(which: Around, occasion: Readonly<Record<string, string>>): AroundRun | null {
    const { book, log, isRehearsal } = this.context;
    if (isRehearsal) return null;
    return runAround({
      which,
      dirs: book.dirs,
      facts: { ...hookFacts(this.context, this.runDir), occasion },
      inherited: inheritedEnvironment(process.env),
      file: this.runDir.file,
      log,
    });
  }
}
