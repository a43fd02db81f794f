import { graceMs } from '../hook/descendants.js';
import { knownEvents } from '../hook/event-names.js';
import { findEventHooks, findLifecycleHook, lastEventsMs, lifecycleTimeoutMs } from '../hook/find.js';
import { ruleFor } from './resolve.js';
import type { RuleBook } from './rule.js';

/** How long a stop may take from SIGTERM to qemu-trap's own end, in milliseconds. */
export function longestStopMs(
  { killAfterMs, busyTimeoutMs }: { readonly killAfterMs: number; readonly busyTimeoutMs: number | null },
  book: RuleBook,
): number {
  // `ready` runs in one queue with them.
  const hasEventHook = [...findEventHooks(knownEvents, book.dirs), ...findLifecycleHook('ready', book.dirs)].length > 0;
  const forEvents = hasEventHook ? lastEventsMs + graceMs : 0;
  const forEnd = findLifecycleHook('end', book.dirs).length > 0 ? lifecycleTimeoutMs.end + graceMs : 0;
  return Math.max(ruleFor('SIGTERM', book).timeoutMs, busyTimeoutMs ?? 0) + killAfterMs + forEvents + forEnd;
}
