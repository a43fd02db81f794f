import { graceMs } from '../hook/descendants.js';
import { findLifecycleHook, lifecycleTimeoutMs } from '../hook/find.js';
import { ruleFor } from './resolve.js';
import type { RuleBook } from './rule.js';

/** How long a stop may take from SIGTERM to qemu-trap's own end, in milliseconds. */
export function longestStopMs({ killAfterMs }: { readonly killAfterMs: number }, book: RuleBook): number {
  const forEnd = findLifecycleHook('end', book.dirs).length > 0 ? lifecycleTimeoutMs.end + graceMs : 0;
  return ruleFor('SIGTERM', book).timeoutMs + killAfterMs + forEnd;
}
