import { aliases, trappableSignals, type SignalName } from './names.js';

/** A trapped signal, with the moment it came on the monotonic clock (milliseconds). */
export interface Trapped {
  readonly signal: SignalName;
  readonly at: number;
  /** How often: what comes in one turn of the event loop is one, as it is for the kernel while a signal is pending. */
  readonly times: number;
}

/*
 * Importing this module sets every trap: cli.ts does so before it loads the rest of the program.
 */
const early = new Map<SignalName, Trapped>();
/** Leaves a signal to the next listener; of each the first one only. */
export function keep(trapped: Trapped): void {
  if (!early.has(trapped.signal)) early.set(trapped.signal, trapped);
}
let deliver = keep;

/*
 * Signals that came again in this turn of the loop. In a storm they must cost next to nothing: libuv's signal pipe
 * holds 4,096, and while it is full what comes is lost (uv__signal_handler of libuv).
 */
const again = new Map<SignalName, number>();

function trapped(signal: SignalName): void {
  const count = again.get(signal);
  if (count !== undefined) {
    again.set(signal, count + 1);
    return;
  }
  const isFirst = again.size === 0;
  again.set(signal, 0);
  deliver({ signal, at: performance.now(), times: 1 });
  if (isFirst) setImmediate(deliverRest);
}

function deliverRest(): void {
  const rest = [...again];
  again.clear();
  const at = performance.now();
  for (const [signal, times] of rest) if (times > 0) deliver({ signal, at, times });
}

for (const signal of trappableSignals) {
  process.on(signal, () => trapped(signal));
}
// signal-exit listens to the second names too, and ends the process if it is the only listener.
for (const alias of Object.keys(aliases)) process.on(alias, () => undefined);

/** Gives every signal its default action again, for what runs no VM: a terminal may stop and end it as any program. */
export function untrap(): void {
  for (const signal of [...trappableSignals, ...Object.keys(aliases)]) process.removeAllListeners(signal);
}

/**
 * Hands every trapped signal to `listener` from now on, those that came before first.
 * @returns what ends that: signals that come after it wait for the next listener
 */
export function onTrapped(listener: (trapped: Trapped) => void): () => void {
  deliver = listener;
  const waiting = [...early.values()];
  early.clear();
  for (const trapped of waiting) listener(trapped);
  return () => {
    deliver = keep;
  };
}
