import { graceMs } from '../hook/descendants.js';
import { findAround } from '../hook/find.js';
import { aroundTimeoutMs } from '../hook/lifecycle.js';
import { ruleFor } from './resolve.js';
import type { RuleBook } from './rule.js';

/** How long a stop may take from SIGTERM to qemu-trap's own end, in milliseconds. */
export function longestStopMs({ killAfterMs }: { readonly killAfterMs: number }, book: RuleBook): number {
  const forEnd = findAround('end', book.dirs).length > 0 ? aroundTimeoutMs.end + graceMs : 0;
  return ruleFor('SIGTERM', book).timeoutMs + killAfterMs + forEnd;
}
