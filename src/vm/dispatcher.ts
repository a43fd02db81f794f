import type { Effect, Input, Notice } from '../dispatch/messages.js';
import { type Limits, type State, initialState, nextTick } from '../dispatch/state.js';
import { step } from '../dispatch/step.js';
import type { Survival } from './survival.js';
import { startTimer, type Timer } from '../system/timer.js';

/** Who does what the core decides. Within a step these are called in the order in which they stand here. */
interface Effects {
  /** Before anything of a step is done. */
  prepare(state: State): void;
  perform(effect: Effect): void;
  /** All effects of the step are under way. */
  performed(state: State): void;
  notice(notice: Notice): void;
  /** What is to be shown of the state. */
  show(state: State): void;
}

/** Gives facts to the core, in their order, and has done what it decides; wakes it when it wants to be woken. */
export class Dispatcher {
  #state: State;
  #timer: Timer | null = null;
  #isClosed = false;

  constructor(
    limits: Limits,
    private readonly effects: Effects,
    private readonly survival: Survival,
  ) {
    this.#state = initialState(limits);
  }

  get state(): State {
    return this.#state;
  }

  /** QEMU has exited: no fact counts any more. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** @param at when the fact came about, on the clock of `performance.now()` */
  feed(input: Input, at = performance.now()): void {
    if (this.#isClosed) return;
    const { effects, survival } = this;
    const { state, effects: decided, notices } = step(this.#state, input, at);
    this.#state = state;
    effects.prepare(state);
    // What is done comes before what is remembered of it, and before the words for it.
    for (const effect of decided) survival.attempt(() => effects.perform(effect));
    effects.performed(state);
    for (const notice of notices) effects.notice(notice);
    effects.show(state);
    this.#arm();
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
  }

  #arm(): void {
    this.#timer?.cancel();
    this.#timer = null;
    const next = nextTick(this.#state);
    const delay = Math.max(1, Math.ceil(next - performance.now()));
    this.#timer = startTimer(delay, () => this.feed({ kind: 'tick' }));
  }
}
