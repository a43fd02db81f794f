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

/** Wishes, and what they are called here. */
const wishes: Readonly<Record<string, string>> = {
  powerdown: 'SIGTERM',
  up: 'ready',
  'after-start': 'ready',
  'before-start': 'start',
  down: 'end',
  'after-stop': 'end',
  panic: 'GUEST_PANICKED',
  panicked: 'GUEST_PANICKED',
  crash: 'GUEST_PANICKED',
  'io-error': 'BLOCK_IO_ERROR',
  'disk-full': 'BLOCK_IO_ERROR',
  'no-space': 'BLOCK_IO_ERROR',
  enospc: 'BLOCK_IO_ERROR',
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
  /** If `false`, only its owner knows which of the two it is. */
  readonly isToBeRenamed: boolean;
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
  const lower = event.toLowerCase().replace(/_/g, '-');
  const isEvent = events.includes(event);
  const also = isEvent ? `${event} (QEMU's event)` : null;
  // What makes a reset must not become what runs after one.
  if (lower === 'reset') return meant('reset', { orElse: also, isToBeRenamed: false });
  // A user who writes EVENT_STOP means the event.
  if (Object.hasOwn(lookalikes, lower) && !(isEvent && event !== upper))
    return meant(lookalikes[lower] as string, { orElse: also });
  const parsed = parseSignal(upper);
  const same =
    lifecycleHooks.find((each) => each === lower) ??
    ('signal' in parsed ? parsed.signal : events.find((each) => each === event));
  if (same !== undefined) return meant(same);
  if (Object.hasOwn(wishes, lower)) return meant(wishes[lower] as string, { isSame: false });
  const near = nearSignalOrEvent(event, events) ?? nearest(lower, lifecycleHooks) ?? begunBy(event, events);
  return near === null ? null : meant(near, { isSame: false });
}

function meant(name: string, more: Partial<MeantHook> = {}): MeantHook {
  return { name, orElse: null, isSame: true, isToBeRenamed: true, ...more };
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
