import type { SignalName } from '../signals/names.js';
import type { Notice } from './messages.js';
import type { Chain, Step } from './state.js';

const quietMs = 1_000;

export function notice(s: Step, what: Notice): void {
  s.actions.push({ do: 'tell', notice: what });
}

export function noticeOnce(s: Step, signal: SignalName, event: 'stands' | 'refused'): void {
  const { stop } = s.state;
  if (stop === null || stop.told.has(signal) || stop.rule.signal === signal) return;
  s.state.stop = { ...stop, told: new Set([...stop.told, signal]) };
  notice(s, { event, signal, first: stop.rule.signal });
}

export function noticeRepeats(s: Step, run: Chain): void {
  if (run.again > 0) notice(s, { event: 'coalesced', signal: run.rule.signal, times: run.again });
  run.again = 0;
}

export function noticeCounts(s: Step): void {
  const { stop, runs, ignored } = s.state;
  if (stop !== null) noticeRepeats(s, stop);
  for (const run of runs.values()) noticeRepeats(s, run);
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
