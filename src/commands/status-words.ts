import { plainLine } from '../log/plain-text.js';
import { defaultTimeoutSeconds } from '../options/parse.js';
import { adviseOnButton } from '../outcome/button-words.js';
import { isUnknown } from '../outcome/run-state.js';
import { monotonicMs } from '../status/file.js';
import { type FoundVm, ownUid } from '../status/find.js';
import { type Serving, describeWait } from '../status/progress.js';
import type { RunRecord } from '../status/run-record.js';
import { summarize } from '../status/stop-summary.js';
import { formatSeconds } from '../system/duration.js';

/*
 * A VM in words, for `--status`.
 */

/** A VM as it is reported: one that runs, or one that has run. */
export interface Reported {
  readonly name: string;
  readonly found: FoundVm | null;
  /** The pid of the qemu-trap that serves it, wherever; `null`: none does. */
  readonly servedBy: number | null;
  readonly records: readonly RunRecord[];
}

/** Its qemu-trap was killed, and its QEMU runs on. */
export function isLeftAlone({ pid, qemuPid }: FoundVm): boolean {
  return pid === null && qemuPid !== null;
}

const waitsInWords: Readonly<Record<Serving['waitsFor'], string>> = {
  qemu: 'QEMU starts',
  hook: 'hook',
  guest: 'guest',
  quit: 'QEMU quits',
  kill: 'SIGKILL',
};

/** A span of time in its two largest units. */
function formatSpan(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  const [d, h, m, s] = [
    Math.floor(seconds / 86_400),
    Math.floor(seconds / 3600) % 24,
    Math.floor(seconds / 60) % 60,
    seconds % 60,
  ];
  if (d > 0) return `${d} d ${h} h`;
  if (h > 0) return `${h} h ${m} min`;
  return m > 0 ? `${m} min ${s} s` : `${s} s`;
}

/** A name that another user may have chosen, as a cell of a table. */
export function plain(text: string): string {
  return plainLine(text, '_').replaceAll('\t', '_');
}

export function leftMs(until: number | null): number | null {
  return until === null ? null : Math.max(0, Math.round(until - monotonicMs()));
}

/** What is in progress; of a qemu-trap that was killed, or a QEMU that has exited, nothing is. */
export function servingOf({ pid, qemuPid, status }: FoundVm): readonly Serving[] {
  return pid === null || qemuPid === null ? [] : (status?.serving ?? []);
}

export function guestOf(found: FoundVm): string {
  if (found.runDir === null) return 'unknown';
  if (found.qemuPid === null) return found.status === null ? 'not started' : 'gone';
  return found.status === null || isUnknown(found.status.guest) ? 'starting' : found.status.guest;
}

function localTime(iso: string): string {
  const time = new Date(iso);
  if (Number.isNaN(time.getTime())) return '-';
  const two = (n: number): string => String(n).padStart(2, '0');
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())} ${two(time.getHours())}:${two(time.getMinutes())}`;
}

/** When a run ended; if that is not known, when it began. */
export function timeOf({ time, started }: RunRecord): string {
  return started === undefined ? localTime(time) : `started ${localTime(started)}`;
}

export function row({ name, found, servedBy, records }: Reported): readonly string[] {
  const last = records.at(-1);
  const lastStop =
    last === undefined
      ? '-'
      : `${timeOf(last)} ${last.end}${last.ms === null ? '' : `, ${formatSeconds(last.ms)}`}${last.cut_off === true ? ', cut off' : ''}`;
  if (found === null) {
    const guest = servedBy === null ? 'stopped' : 'unknown';
    return [plain(name), String(servedBy ?? '-'), '-', guest, '-', '-', '-', plain(lastStop)];
  }
  const [first] = servingOf(found);
  const left = first === undefined ? null : leftMs(first.until);
  return [
    plain(found.uid === ownUid ? name : `${name} (uid ${found.uid})`),
    String(found.pid ?? '-'),
    String(found.qemuPid ?? '-'),
    plain(guestOf(found)),
    found.uptimeMs === null ? '-' : formatSpan(found.uptimeMs),
    first === undefined ? '-' : plain(`${first.signal} (${waitsInWords[first.waitsFor] ?? first.waitsFor})`),
    left === null ? '-' : `${Math.ceil(left / 1000)} s`,
    plain(lastStop),
  ];
}

/** How long a guest that writes has at most. */
function describeMost({ mostUntil }: Serving): string {
  const left = leftMs(mostUntil);
  return left === null ? '' : `, for ${Math.ceil(left / 1000)} s at most as long as it writes`;
}

function times(count: number): string {
  return count === 1 ? 'once' : `${count} times`;
}

/** What its qemu-trap has said, which an administrator should look after; of another user's nothing is passed on. */
export function warningOf(found: FoundVm | null): string | null {
  return found === null || found.pid === null || found.uid !== ownUid ? null : (found.status?.warning ?? null);
}

/** What the history of a VM says, in a line or two. */
export function advice({ name, found, records }: Reported): string[] {
  const lines: string[] = [];
  const warning = warningOf(found);
  if (warning !== null) lines.push(`${name}: ${warning}`);
  if (found?.runDir === null)
    lines.push(`${name}: its run directory was removed: signals still work, and its monitors are out of reach`);
  if (found !== null && found.pid !== null) {
    const [first] = servingOf(found);
    // Of a shutdown only: without one SIGQUIT would begin it. QEMU itself has those signals blocked.
    // A pid that another user has written down is nothing to send a signal to.
    const isForced = first?.waitsFor === 'quit' || first?.waitsFor === 'kill';
    if (first !== undefined && first.next !== 'none' && !isForced && found.uid === ownUid)
      lines.push(`${name}: to cut the guest off now: kill -QUIT ${found.pid}`);
    if (first !== undefined && (first.writing !== null || (first.waitsFor === 'guest' && first.until === null)))
      lines.push(`${name}: ${first.signal}: waiting ${describeWait(first)}${describeMost(first)}`);
    if (first !== undefined && first.button !== null) lines.push(`${name}: ${adviseOnButton(first.button)}`);
  }
  if (found !== null && found.pid === null)
    lines.push(
      `${name}: its qemu-trap was killed; the next start in ${found.runDir} takes the guest over; until then signals do nothing`,
    );
  const last = records.at(-1);
  if (last === undefined) return lines;
  // A guest that a killed qemu-trap left running has not ended yet.
  const runsOn = found !== null && found.pid === null && last.end === 'unknown';
  if (!runsOn && (found === null || last.verdict !== 'clean')) lines.push(`${name}: last run: ${last.message}`);
  const {
    stops: count,
    clean,
    cutOff,
    unknown,
    slowestMs,
    late,
    suggestedTimeout,
  } = summarize(records, defaultTimeoutSeconds);
  const how =
    slowestMs === null
      ? late > 0
        ? `, never by the guest itself${last.button ? '' : ': does the guest react to its power button (acpid, logind)?'}`
        : ''
      : `, ${clean} by the guest itself, the slowest in ${formatSeconds(slowestMs)}${suggestedTimeout === null ? '' : `; suggested --timeout: ${suggestedTimeout}`}`;
  const stops = count === 0 ? 'no stop on a signal' : `${count} ${count === 1 ? 'stop' : 'stops'} on a signal${how}`;
  const outcomes = [
    ...(cutOff > 0 ? [`cut off ${times(cutOff)}`] : []),
    ...(unknown > 0 ? [`${unknown} ${unknown === 1 ? 'run' : 'runs'} with unknown outcome`] : []),
  ];
  lines.push(`${name}: ${[stops, ...(outcomes.length > 0 ? outcomes : ['never cut off'])].join('; ')}`);
  return lines.map(plain);
}
