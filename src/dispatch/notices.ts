import type { SignalName } from '../signals/names.js';
import type { Notice } from './messages.js';
import type { Chain, Step } from './state.js';

const quietMs = 1_000;

export function notice(s: Step, what: Notice): void {
  s.notices.push(what);
}

export function noticeOnce(s: Step, signal: SignalName, event: 'stands' | 'refused'): void {
  const { shutdown } = s.state;
  if (shutdown === null || shutdown.noticed.has(signal) || shutdown.rule.signal === signal) return;
  shutdown.noticed.add(signal);
  notice(s, { event, signal, first: shutdown.rule.signal });
}

export function noticeRepeats(s: Step, chain: Chain): void {
  if (chain.repeats > 0) notice(s, { event: 'coalesced', signal: chain.rule.signal, times: chain.repeats });
  chain.repeats = 0;
}

export function noticeCounts(s: Step): void {
  const { shutdown, chains, ignored } = s.state;
  if (shutdown !== null) noticeRepeats(s, shutdown);
  for (const chain of chains.values()) noticeRepeats(s, chain);
  for (const [signal, { more }] of ignored) if (more > 0) notice(s, { event: 'ignored', signal, times: more });
  ignored.clear();
}

export function onIgnored(s: Step, signal: SignalName, times: number): void {
  // Service managers send SIGCONT after SIGTERM, to wake what was stopped.
  // A terminal sends SIGWINCH with each change of its size.
  if (signal === 'SIGCONT' || signal === 'SIGWINCH') return;
  const ignored = s.state.ignored.get(signal);
  if (ignored) {
    s.state.ignored.set(signal, { until: ignored.until, more: ignored.more + times });
  } else {
    notice(s, { event: 'ignored', signal, times });
    s.state.ignored.set(signal, { until: s.now + quietMs, more: 0 });
  }
}
