import { nearest } from '../system/near-miss.js';
import { parseSignal, trappableSignals } from '../signals/names.js';
import { lifecycleHooks } from './find.js';

/*
 * Which hook was meant by a name that none has.
 */

/** Names under which other programs look for scripts of the same kind, and what qemu-trap calls those. */
const lookalikes: Readonly<Record<string, string>> = {
  stop: 'SIGTERM',
  shutdown: 'SIGTERM',
  'pre-stop': 'SIGTERM',
  prestop: 'SIGTERM',
  'pre-start': 'start',
  prestart: 'start',
  'post-stop': 'end',
  poststop: 'end',
  stopped: 'end',
  'post-start': 'ready',
  poststart: 'ready',
  started: 'ready',
};

/** The shortest beginning of a name that tells which it is. */
const shortestBeginning = 5;

export interface MeantHook {
  /** The name that it should have. */
  readonly name: string;
  /** What else it may mean, for people; `null`: nothing. */
  readonly orElse: string | null;
  /** It is the same word, or has the same meaning elsewhere; if `false`, it is near to the name. */
  readonly isSame: boolean;
}

/**
 * @param word the name that was written, without the end that says how a script is written (`.sh`)
 * @param events the names of QEMU's events
 * @returns `null` if it is near to none
 */
export function meantHook(word: string, events: readonly string[]): MeantHook | null {
  const upper = word
    .toUpperCase()
    .replace(/[^A-Z0-9]+/g, '_')
    .replace(/^_|_$/g, '');
  const event = upper.replace(/^(ON|EVENT)_/, '');
  const lower = upper.toLowerCase().replace(/_/g, '-');
  const lookalike = Object.hasOwn(lookalikes, lower) ? (lookalikes[lower] as string) : undefined;
  if (lookalike !== undefined) {
    const orElse = events.includes(upper) ? `${upper} (QEMU's event)` : null;
    return { name: lookalike, orElse, isSame: true };
  }
  const parsed = parseSignal(upper);
  const same =
    lifecycleHooks.find((each) => each === lower) ??
    ('signal' in parsed ? parsed.signal : events.find((each) => each === event));
  if (same !== undefined) return { name: same, orElse: null, isSame: true };
  const near = nearSignalOrEvent(event, events) ?? nearest(lower, lifecycleHooks) ?? begunBy(event, events);
  return near === null ? null : { name: near, orElse: null, isSame: false };
}

function nearSignalOrEvent(upper: string, events: readonly string[]): string | null {
  const short = trappableSignals.map((signal) => signal.slice('SIG'.length));
  const isSignal = upper.startsWith('SIG');
  const near = isSignal ? nearest(upper.slice('SIG'.length), short) : nearest(upper, [...events, ...short]);
  return near !== null && short.includes(near) ? `SIG${near}` : near;
}

/** The one event whose name begins like it, or which it begins with. */
function begunBy(upper: string, events: readonly string[]): string | null {
  if (upper.length < shortestBeginning) return null;
  const [begun, another] = events.filter((each) => each.startsWith(upper) || upper.startsWith(`${each}_`));
  return another === undefined ? (begun ?? null) : null;
}
