import { existsSync } from 'node:fs';
import type { Socket } from 'node:net';
import { findEventHook, findLifecycleHook, type HookFile, lastEventsMs, lifecycleTimeoutMs } from '../hook/find.js';
import { eventOccasion } from '../hook/environment.js';
import type { RunningHook } from '../hook/run.js';
import type { HookRunner } from '../hook/runner.js';
import { HookConnections } from '../qemu/hook-connections.js';
import type { MonitorPaths } from '../qemu/launch-plan.js';
import type { QmpEvent } from '../qmp/messages.js';
import { formatSeconds } from '../system/duration.js';
import { startTimer } from '../system/timer.js';
import { onSignalsAfterQemu } from './after-qemu.js';
import type { RunContext, RunningQemu } from './context.js';
import type { Survival } from './survival.js';

/** How long the hook of one event has, in milliseconds. */
const eventTimeoutMs = 30_000;
/** From one run for an event to the next for the same, in milliseconds: a hook may bring about its own event. */
const sameEventEveryMs = 1_000;

/** One hook that waits for its turn. */
interface Waiting {
  readonly script: HookFile;
  /** How often the event came. */
  count: number;
  /** The last one; `null` of the hook `ready`. */
  event: QmpEvent | null;
  /** Called when its turn is over. */
  readonly done?: () => void;
}

interface Surroundings {
  readonly runner: HookRunner;
  readonly survival: Survival;
}

/**
 * The hooks of QEMU's events, and `ready`, one at a time, in the order in which their names came. None of them delays the
 * hook of a signal, nor waits for one.
 */
export class EventHooks {
  /** By name. */
  readonly #waiting = new Map<string, Waiting>();
  readonly #unfinished = new Set<RunningHook>();
  #connections: HookConnections<'event'>;
  #current: RunningHook | null = null;
  /** Settled when nothing waits any more. */
  #turns: Promise<void> | null = null;
  /** When each name last had its turn, on the clock of `performance.now()`. */
  readonly #begunAt = new Map<string, number>();
  /** Ends what the turns wait for now: a hook that is to be stopped, or the time of the next one. */
  #goOn: () => void = () => undefined;
  /** QEMU exits: there is no monitor any more. */
  #isHeld = false;
  /** QEMU has exited, and the hooks have until then, on the clock of `performance.now()`. */
  #lastDeadline: number | null = null;

  constructor(
    private readonly context: RunContext,
    private readonly running: RunningQemu,
    private readonly around: Surroundings,
  ) {
    this.#connections = connectionsTo(running.monitors);
  }

  /** Hooks are to have these monitors from now on. */
  use(monitors: MonitorPaths): void {
    this.#connections = connectionsTo(monitors);
  }

  /** Gives the hook of `event` its turn, if there is one. */
  onEvent(event: QmpEvent): void {
    const { book, runsHookOf } = this.context;
    const { event: name } = event;
    if (!runsHookOf(name) || this.#lastDeadline !== null) return;
    const waiting = this.#waiting.get(name);
    if (waiting !== undefined) {
      waiting.count++;
      waiting.event = event;
      return;
    }
    const script = findEventHook(name, book.dirs)[0];
    if (script !== undefined) this.#queue(name, { script, count: 1, event });
  }

  /**
   * Runs the hook `ready`, if there is one.
   * @param then called when it is over, and QEMU is still there
   */
  ready(then: () => void): void {
    const { book, runsHookOf } = this.context;
    const script = runsHookOf('ready') ? findLifecycleHook('ready', book.dirs)[0] : undefined;
    if (script === undefined) return then();
    const done = (): void => {
      if (this.#lastDeadline === null) then();
    };
    this.#queue('ready', { script, count: 1, event: null, done });
  }

  /** @param isHeld QEMU was told to quit, or exits, or stays after all: meanwhile no hook has a monitor */
  hold(isHeld: boolean): void {
    this.#isHeld = isHeld;
    this.#connections.hold(isHeld);
    if (isHeld) this.#connections.silence();
  }

  /** Settled when QEMU has exited, and every event that came before has had its turn, or the time of all is over. */
  async finish(): Promise<void> {
    this.#lastDeadline = performance.now() + lastEventsMs;
    this.hold(true);
    const untrap = onSignalsAfterQemu(this.context.log, () => {
      this.#current?.stop('signal');
      this.#drop('a signal came');
      this.#goOn();
    });
    if (this.#current === null) this.#goOn();
    else this.#endBy(this.#current, this.#deadline(Infinity));
    await this.#turns;
    untrap();
    await Promise.all([...this.#unfinished].map((run) => run.leftoversGone()));
    this.#connections.close();
  }

  /** What a hook leaves is cleaned up while the next one runs: they share the time that is left. */
  #endBy(run: RunningHook, deadline: number): void {
    run.endBy(deadline);
    const goOn = this.#goOn;
    startTimer(deadline - performance.now(), goOn).unref();
  }

  /** When the hook whose turn it is has to have exited: after QEMU's exit, those that wait share the time that is left. */
  #deadline(timeoutMs: number): number {
    const now = performance.now();
    // Until QEMU has exited it has less, and it is not known when that is.
    if (this.#lastDeadline === null) return now + (this.#isHeld ? Math.min(timeoutMs, lastEventsMs) : timeoutMs);
    return now + Math.min(timeoutMs, (this.#lastDeadline - now) / (this.#waiting.size + 1));
  }

  #drop(why: string): void {
    const names = [...this.#waiting.keys()];
    this.#waiting.clear();
    if (names.length === 0) return;
    this.context.log({
      event: 'events-dropped',
      level: 'warning',
      message: `QEMU has exited, and nothing is run any more for ${names.join(', ')}: ${why}`,
      facts: { events: names.join(' ') },
    });
  }

  #queue(name: string, waiting: Waiting): void {
    this.#waiting.set(name, waiting);
    if (this.#current === null) this.#goOn();
    // After what else this turn has to do: a signal's hook, say.
    this.#turns ??= new Promise((resolve) => setImmediate(resolve))
      .then(() => this.#takeTurns())
      .catch(this.around.survival.survive)
      .then(() => void (this.#turns = null));
  }

  async #takeTurns(): Promise<void> {
    for (let next = this.#next(); next !== undefined; next = this.#next()) {
      if (this.#lastDeadline !== null && performance.now() >= this.#lastDeadline)
        return this.#drop(`they had ${formatSeconds(lastEventsMs)} in all`);
      const [name, waiting] = next;
      const waitMs = this.#waitMs(name);
      if (waitMs > 0) {
        await this.#pause(waitMs);
        continue;
      }
      this.#waiting.delete(name);
      this.#begunAt.set(name, performance.now());
      await this.#run(name, waiting);
      waiting.done?.();
    }
  }

  /** The first that may run; of those that have run a moment ago, the one whose time comes first. */
  #next(): [string, Waiting] | undefined {
    const waiting = [...this.#waiting];
    return (
      waiting.find(([name]) => this.#waitMs(name) <= 0) ??
      waiting.sort(([a], [b]) => this.#waitMs(a) - this.#waitMs(b))[0]
    );
  }

  #waitMs(name: string): number {
    if (this.#lastDeadline !== null) return 0;
    return (this.#begunAt.get(name) ?? -Infinity) + sameEventEveryMs - performance.now();
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = startTimer(ms, resolve);
      this.#goOn = () => {
        timer.cancel();
        resolve();
      };
    });
  }

  async #run(name: string, { script, count, event }: Waiting): Promise<void> {
    const { runner } = this.around;
    const { qemu, monitors } = this.running;
    const deadline = this.#deadline(event === null ? lifecycleTimeoutMs.ready : eventTimeoutMs);
    const run = runner.run({
      subject: { occasion: name },
      script,
      deadline,
      stopsAtDeadline: true,
      variables: eventOccasion(event === null ? null : count, qemu.pid, monitors),
      ...(event !== null && { input: `${JSON.stringify(event)}\n` }),
      connections: {
        takeReady: () => (this.#isHeld ? null : this.#connections.takeReady('event')),
        take: async () => (this.#isHeld ? null : this.#connections.take('event')),
        putBack: (connection) => this.#connections.putBack('event', connection),
      },
      needsMonitor: false,
      isWanted: () => true,
      onStepEnd: async ({ connection }) => this.#giveBack(connection),
    });
    this.#current = run;
    this.#unfinished.add(run);
    const movedOn = new Promise<void>((resolve) => (this.#goOn = resolve));
    if (this.#lastDeadline !== null) this.#endBy(run, deadline);
    await Promise.race([run.outcome, movedOn]);
    this.#current = null;
    void run.leftoversGone().finally(() => this.#unfinished.delete(run));
  }

  #giveBack(connection: Socket | null): void {
    if (connection === null) return;
    // The next hook waits for it: it is freed as soon as QEMU has executed what this one wrote, in a shutdown, too.
    this.#connections.giveBack('event', connection, false).catch(this.around.survival.survive);
  }
}

/** A QEMU that was started by a version before this one has no monitor for events. */
function connectionsTo({ events, lateHooks }: MonitorPaths): HookConnections<'event'> {
  return new HookConnections([], () => (existsSync(events) ? events : lateHooks));
}
