import { aliases, trappableSignals, type SignalName } from './signals.js';

/** A trapped signal, with the moment it came on the monotonic clock (milliseconds). */
export interface Trapped {
  readonly signal: SignalName;
  readonly at: number;
  /** How often: what comes in one turn of the event loop is one, as it is for the kernel while a signal is pending. */
  readonly times: number;
}

/*
 * Importing this module sets every trap: the composer imports it before anything else, because a SIGTERM that
 * comes while the rest of the program is still being loaded would end Node by its own default.
 */
const early = new Map<SignalName, Trapped>();
function keep(trapped: Trapped): void {
  if (!early.has(trapped.signal)) early.set(trapped.signal, trapped);
}
let deliver = keep;

/*
 * Signals that came again in this turn of the loop. In a storm they must cost next to nothing: libuv's signal pipe
 * holds 4,096, and while it is full a SIGTERM is lost.
 */
const again = new Map<SignalName, number>();

function trapped(signal: SignalName): void {
  const count = again.get(signal);
  if (count !== undefined) {
    again.set(signal, count + 1);
    return;
  }
  if (again.size === 0) setImmediate(deliverRest);
  again.set(signal, 0);
  deliver({ signal, at: performance.now(), times: 1 });
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
// signal-exit listens to the second names too, and ends the process where it is the only listener.
for (const alias of Object.keys(aliases)) process.on(alias, () => undefined);

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
