import { plainLine } from '../log/plain-text.js';
import { basename } from 'node:path';
import { columns } from '../system/text-table.js';
import { historyFile, recall, rememberedVms } from '../status/history.js';
import { defaultTimeoutSeconds } from '../options/parse.js';
import type { StatusFormat } from '../options/command.js';
import { adviseOnButton } from '../outcome/button-words.js';
import { isDefaultName } from '../qemu/argv.js';
import { asMetrics } from './prometheus.js';
import { isUnknown } from '../outcome/run-state.js';
import { formatSeconds } from '../system/duration.js';
import { hasProc } from '../system/processes.js';
import { UsageError } from '../system/usage-error.js';
import { monotonicMs } from '../status/file.js';
import { findVms, ownUid, type FoundVm } from '../status/find.js';
import { type Serving, describeWait } from '../status/progress.js';
import type { RunRecord } from '../status/run-record.js';
import { summarize } from '../status/stop-summary.js';

/** What is asked of `--status`. */
interface StatusCall {
  /** None: all that run. */
  readonly names: readonly string[];
  readonly runDir: string | null;
  readonly stateDir: string | null;
  readonly format: StatusFormat;
  /** Only to tell whether somebody should look after a VM. */
  readonly isAlert: boolean;
}

/** It has said where its history is; what is kept under its name elsewhere may be another's. */
function hasOwnRecords({ status, uid }: FoundVm): boolean {
  return (status !== null && status.history !== null) || uid !== ownUid;
}

/** A VM as it is reported: one that runs, or one that has run. */
interface Reported {
  readonly name: string;
  readonly found: FoundVm | null;
  readonly records: readonly RunRecord[];
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

/** A name that somebody else may have chosen, as a cell of a table. */
function plain(text: string): string {
  return plainLine(text, '_').replaceAll('\t', '_');
}

function leftMs(until: number | null): number | null {
  return until === null ? null : Math.max(0, Math.round(until - monotonicMs()));
}

/** What is in progress; of a qemu-trap that was killed, or a QEMU that has gone, nothing is. */
function servingOf({ pid, qemuPid, status }: FoundVm): readonly Serving[] {
  return pid === null || qemuPid === null ? [] : (status?.serving ?? []);
}

function guestOf(found: FoundVm): string {
  if (found.qemuPid === null) return found.status === null ? 'not started' : 'gone';
  return found.status === null || isUnknown(found.status.guest) ? 'starting' : found.status.guest;
}

function localTime(iso: string): string {
  const time = new Date(iso);
  if (Number.isNaN(time.getTime())) return '-';
  const two = (n: number): string => String(n).padStart(2, '0');
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())} ${two(time.getHours())}:${two(time.getMinutes())}`;
}

function row({ name, found, records }: Reported): readonly string[] {
  const last = records.at(-1);
  const lastStop =
    last === undefined
      ? '-'
      : `${localTime(last.time)} ${last.end}${last.ms === null ? '' : `, ${formatSeconds(last.ms)}`}`;
  if (found === null) return [plain(name), '-', '-', 'stopped', '-', '-', '-', plain(lastStop)];
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

/** What its qemu-trap has said, which somebody should look after; of another user's nothing is passed on. */
function warningOf(found: FoundVm | null): string | null {
  return found === null || found.pid === null || found.uid !== ownUid ? null : (found.status?.warning ?? null);
}

/** What the history of a VM says, in a line or two. */
function advice({ name, found, records }: Reported): string[] {
  const lines: string[] = [];
  const warning = warningOf(found);
  if (warning !== null) lines.push(`${name}: ${warning}`);
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
  lines.push(
    `${name}: ${count} ${count === 1 ? 'stop' : 'stops'} on a signal${how}; ${cutOff === 0 ? (unknown === 0 ? 'never cut off' : 'not known to be cut off') : `cut off ${times(cutOff)}`}${unknown === 0 ? '' : `; outcome unknown ${times(unknown)}`}`,
  );
  return lines.map(plain);
}

function asObject({ name, found, records }: Reported): object {
  const { slowestMs, suggestedTimeout, ...counts } = summarize(records, defaultTimeoutSeconds);
  return {
    event: 'vm',
    vm: name,
    uid: found?.uid ?? ownUid,
    running: found !== null,
    pid: found?.pid ?? null,
    qemu_pid: found?.qemuPid ?? null,
    guest: found === null ? null : guestOf(found),
    uptime_ms: found?.uptimeMs === undefined || found.uptimeMs === null ? null : Math.round(found.uptimeMs),
    run_dir: found?.runDir ?? null,
    warning: warningOf(found),
    serving: (found === null ? [] : servingOf(found)).map((each) => ({
      signal: each.signal,
      waits_for: each.waitsFor,
      left_ms: leftMs(each.until),
      most_left_ms: leftMs(each.mostUntil),
      button: each.button,
      written_per_second: each.writing === null ? null : Math.round(each.writing.bytesPerSecond),
    })),
    last: records.at(-1) ?? null,
    stops: counts.stops,
    clean: counts.clean,
    cut_off: counts.cutOff,
    slowest_ms: slowestMs,
    suggested_timeout: suggestedTimeout,
    wise_timeout: suggestedTimeout,
    v: 1,
  };
}

/** The guest was cut off when the VM last ended, or may have been. */
function isAlarming({ records }: Reported): boolean {
  const last = records.at(-1);
  return last !== undefined && last.cut_off !== false;
}

/** What `--status` prints, and whether a VM's last end is one to be told of. */
interface Report {
  readonly text: string;
  readonly isAlarming: boolean;
}

/**
 * What `--status` prints.
 * @throws {UsageError} for a VM that neither runs nor has run
 */
export function report(call: StatusCall, env: NodeJS.ProcessEnv): Report {
  const { format, isAlert } = call;
  const all = findAll(call, env);
  const alarming = all.filter(isAlarming);
  const isText = format === 'text' && isAlert;
  const shown = format === 'json' && isAlert ? alarming : all;
  return { text: isText ? alarms(alarming) : asText(format, shown), isAlarming: alarming.length > 0 };
}

function alarms(alarming: readonly Reported[]): string {
  return alarming
    .map(({ name, records }) => ({ name, last: records.at(-1) }))
    .map(({ name, last }) => `${plain(`${name}: ${localTime(last?.time ?? '')}: ${last?.message}`)}\n`)
    .join('');
}

function asText(format: StatusFormat, all: readonly Reported[]): string {
  if (format === 'json') return all.map((each) => `${JSON.stringify(asObject(each))}\n`).join('');
  if (format === 'prometheus') {
    // One VM of a name: a label tells them apart, and has no user.
    const own = all.filter(({ found }, i) => (found?.uid ?? ownUid) === ownUid && isFirst(all, i));
    return asMetrics(
      own.map(({ name, found, records }) => ({ name, isUp: found?.pid !== undefined && found.pid !== null, records })),
    );
  }
  if (all.length === 0) return `no VM${ownUid === 0 ? '' : ' of yours'} runs under qemu-trap here\n`;
  const table = columns([['NAME', 'PID', 'QEMU', 'GUEST', 'UPTIME', 'SIGNAL', 'LEFT', 'LAST STOP'], ...all.map(row)]);
  const below = all.flatMap(advice);
  return `${table}\n${below.length > 0 ? `\n${below.join('\n')}\n` : ''}`;
}

function isFirst(all: readonly Reported[], at: number): boolean {
  return all.findIndex(({ name }) => name === all[at]?.name) === at;
}

/**
 * The VMs that are asked for: those of the names, or all that run, and, for whoever watches a host, those that have run.
 * @throws {UsageError} for one that neither runs nor has run
 */
function findAll({ names, runDir, stateDir, format, isAlert }: StatusCall, env: NodeJS.ProcessEnv): Reported[] {
  if (!hasProc())
    throw new UsageError('--status: /proc is not mounted, so running VMs cannot be found: mount -t proc proc /proc');
  const running = findVms(runDir, env).map((found): Reported => {
    const name = found.status?.vm ?? basename(found.runDir);
    return { name, found, records: hasOwnRecords(found) ? found.records : recordsOf(name) };
  });
  function recordsOf(name: string): readonly RunRecord[] {
    const path = historyFile(stateDir, name, env);
    return path === null ? [] : recall(path);
  }
  const stopped = (name: string): Reported => ({ name, found: null, records: recordsOf(name) });
  const isWatched = format === 'prometheus' || isAlert;
  // One that was named by default has another name with the next change of its command line.
  const remembered = isWatched ? rememberedVms(stateDir, env).filter((name) => !isDefaultName(name)) : [];
  const rest = remembered.filter((name) => !running.some((each) => each.name === name)).map(stopped);
  const all =
    names.length === 0
      ? [...running, ...rest]
      : names.flatMap((name) => {
          const found = running.filter((each) => each.name === name);
          if (found.length > 0) return found;
          const vm = stopped(name);
          if (vm.records.length === 0)
            throw new UsageError(
              `${name}: no VM of that name runs, or has run, under qemu-trap here: qemu-trap --status lists the running ones`,
            );
          return [vm];
        });
  all.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  return all;
}
