import { aliases, trappableSignals, type SignalName } from './names.js';

/** A trapped signal, with the moment it came on the monotonic clock (milliseconds). */
export interface Trapped {
  readonly signal: SignalName;
  readonly at: number;
  /** How often: what comes in one turn of the event loop is one, as it is for the kernel while a signal is pending. */
  readonly times: number;
  /** It is qemu-trap's own, and means nothing: see {@link rehearse}. */
  readonly isRehearsal: boolean;
}

/*
 * Importing this module sets every trap: cli.ts does so before it loads the rest of the program.
 */
const early = new Map<SignalName, Trapped>();
/** Leaves a signal to the next listener; of each the first one only. */
export function keep(trapped: Trapped): void {
  if (!early.has(trapped.signal) && !trapped.isRehearsal) early.set(trapped.signal, trapped);
}
let deliver = keep;

/*
 * Signals that came again in this turn of the loop. In a storm they must cost next to nothing: libuv's signal pipe
 * holds 4,096, and while it is full a SIGTERM is lost.
 */
const again = new Map<SignalName, number>();

/** Ignored by default (signal(7)), and of no use to anybody but programs with out-of-band data on a socket. */
export const rehearsalSignal = 'SIGURG';
let rehearsing = false;

/**
 * Has {@link rehearsalSignal} go the way of a signal, from the kernel to the listener. One that comes from elsewhere at
 * the same time is lost with it: so not where anything is to be done on it.
 */
export function rehearse(): void {
  rehearsing = true;
  process.kill(process.pid, rehearsalSignal);
}

function trapped(signal: SignalName): void {
  const count = again.get(signal);
  if (count !== undefined) {
    again.set(signal, count + 1);
    return;
  }
  const isFirst = again.size === 0;
  again.set(signal, 0);
  const isRehearsal = rehearsing && signal === rehearsalSignal;
  if (isRehearsal) rehearsing = false;
  deliver({ signal, at: performance.now(), times: 1, isRehearsal });
  if (isFirst) setImmediate(deliverRest);
}

function deliverRest(): void {
  const rest = [...again];
  again.clear();
  const at = performance.now();
  for (const [signal, times] of rest) if (times > 0) deliver({ signal, at, times, isRehearsal: false });
}

for (const signal of trappableSignals) {
  process.on(signal, () => trapped(signal));
}
// signal-exit listens to the second names too, and ends the process where it is the only listener.
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
