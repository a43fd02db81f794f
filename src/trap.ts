import { aliases, trappableSignals, type SignalName } from './signals.js';

/** A trapped signal, with the moment it came on the monotonic clock (milliseconds). */
export interface Trapped {
  readonly signal: SignalName;
  readonly at: number;
}

/*
 * Importing this module sets every trap: the composer imports it before anything else, because a SIGTERM that
 * comes while the rest of the program is still being loaded would end Node by its own default.
 */
const early = new Map<SignalName, Trapped>();
let deliver = (trapped: Trapped): void => {
  if (!early.has(trapped.signal)) early.set(trapped.signal, trapped);
};

for (const signal of trappableSignals) {
  process.on(signal, () => deliver({ signal, at: performance.now() }));
}
// signal-exit listens to the second names too, and ends the process where it is the only listener.
for (const alias of Object.keys(aliases)) process.on(alias, () => undefined);

/** Hands every trapped signal to `listener` from now on, those that came before first. */
export function onTrapped(listener: (trapped: Trapped) => void): void {
  deliver = listener;
  for (const trapped of early.values()) listener(trapped);
  early.clear();
}
