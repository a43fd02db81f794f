/** What a trapped signal may set off. */
type Reaction =
  /** A shutdown begins: the chain of the rule, then its default action. */
  | 'begin'
  /** The chain of the rule runs, and the guest runs on. */
  | 'run'
  /** The same signal is being served: one run stands for both. */
  | 'coalesce'
  /** A shutdown is under way: the first one's hook and deadline are kept. */
  | 'keep-first'
  /** Nothing that keeps the guest running starts while it is being shut down. */
  | 'refuse'
  /** The wait of the shutdown is over: its default action comes now. */
  | 'force'
  /** Logged, and no more. */
  | 'ignore';

/** What kind of a signal came, by its rule. */
export type SignalClass = 'ends' | 'runs-on' | 'ignored' | 'force';

/** What is going on when it comes. */
export type Phase = 'up' | 'same-running' | 'stopping' | 'same-stopping' | 'exiting' | 'ending';

/** The table of docs/signals.md ("What a signal does, and when"); every cell is written out. */
export const dispatchTable: Readonly<Record<Phase, Readonly<Record<SignalClass, Reaction>>>> = {
  up: { ends: 'begin', 'runs-on': 'run', ignored: 'ignore', force: 'begin' },
  'same-running': { ends: 'begin', 'runs-on': 'coalesce', ignored: 'ignore', force: 'begin' },
  stopping: { ends: 'keep-first', 'runs-on': 'refuse', ignored: 'ignore', force: 'force' },
  'same-stopping': { ends: 'coalesce', 'runs-on': 'refuse', ignored: 'ignore', force: 'force' },
  // QEMU exits by itself, or stays, which its next event tells: a signal that comes in between must not be lost.
  exiting: { ends: 'begin', 'runs-on': 'refuse', ignored: 'ignore', force: 'begin' },
  ending: { ends: 'keep-first', 'runs-on': 'refuse', ignored: 'ignore', force: 'force' },
};
