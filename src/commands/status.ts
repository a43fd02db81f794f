import { isThere } from '../system/is-there.js';
import { columns } from '../system/text-table.js';
import { historyFile, livingTrap, recall, rememberedVms } from '../status/history.js';
import { defaultTimeoutSeconds } from '../options/parse.js';
import type { StatusFormat } from '../options/command.js';
import { isDefaultName } from '../qemu/argv.js';
import { asMetrics } from './prometheus.js';
import { pidOf } from '../system/process-identity.js';
import { hasProc } from '../system/processes.js';
import { checkStateDirectory } from '../system/state-directory.js';
import { UsageError } from '../system/usage-error.js';
import { findVms, ownUid, type FoundVm } from '../status/find.js';
import type { RunRecord } from '../status/run-record.js';
import { lastEnd, summarize } from '../status/stop-summary.js';
import {
  type Reported,
  advice,
  isLeftAlone,
  guestOf,
  leftMs,
  plain,
  row,
  servingOf,
  timeOf,
  warningOf,
} from './status-words.js';

/** What is asked of `--status`. */
interface StatusCall {
  /** None: all that run. */
  readonly names: readonly string[];
  readonly runDir: string | null;
  readonly stateDir: string | null;
  readonly format: StatusFormat;
  /** Only to tell whether a VM needs attention. */
  readonly isAlert: boolean;
}

/** It has said where its history is; what is kept under its name elsewhere may be another's. */
function hasOwnRecords({ status, uid }: FoundVm): boolean {
  return (status !== null && status.history !== null) || uid !== ownUid;
}

function asObject({ name, found, servedBy, records }: Reported): object {
  const { slowestMs, suggestedTimeout, ...counts } = summarize(records, defaultTimeoutSeconds);
  return {
    event: 'vm',
    vm: name,
    uid: found?.uid ?? ownUid,
    running: found !== null || servedBy !== null,
    pid: servedBy,
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
  const last = lastEnd(records);
  return last !== null && last.cut_off !== false;
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
  requireHistory(call, env);
  const { all, unlisted } = findAll(call, env);
  const alarming = all.filter(isAlarming);
  const isText = format === 'text' && isAlert;
  const shown = isAlert ? alarming : all;
  const text = isText ? alarms(alarming) : `${asText(format, shown)}${hintAt(unlisted.filter(isAlarming))}`;
  return { text, isAlarming: alarming.length > 0 };
}

/** Those that do not run are in no list, and may be what is looked for. */
function hintAt(alarming: readonly Reported[]): string {
  if (alarming.length === 0) return '';
  const names = alarming
    .map(({ name }) => plain(name))
    .sort()
    .join(', ');
  return `\nnot running, and cut off at the last end (or that is unknown): ${names}; see qemu-trap --status --alert\n`;
}

/** @throws {UsageError} if no history is kept, so that it cannot be told */
function requireHistory({ format, isAlert, stateDir }: StatusCall, env: NodeJS.ProcessEnv): void {
  const distrusted = format === 'prometheus' || isAlert ? checkStateDirectory(stateDir, env) : null;
  if (distrusted === null) return;
  const { path, fault } = distrusted;
  throw new UsageError(
    `--status: no history is kept in the state directory ${path}: ${fault.what} (fix: ${fault.fix})`,
  );
}

function alarms(alarming: readonly Reported[]): string {
  const lines = alarming.map(({ name, found, records }) => {
    const last = lastEnd(records);
    const runsOn = found !== null && isLeftAlone(found);
    const what = runsOn
      ? 'its qemu-trap was killed, and the guest runs on: until the next start signals do nothing'
      : last?.message;
    return `${plain(`${name}: ${last === null ? '-' : timeOf(last)}: ${what}`)}\n`;
  });
  return lines.join('');
}

function asText(format: StatusFormat, all: readonly Reported[]): string {
  if (format === 'json') return all.map((each) => `${JSON.stringify(asObject(each))}\n`).join('');
  if (format === 'prometheus') {
    // One VM of a name: a label tells them apart, and has no user.
    const own = all.filter(({ found }, i) => (found?.uid ?? ownUid) === ownUid && isFirst(all, i));
    return asMetrics(
      own.map(({ name, found, servedBy, records }) => ({
        name,
        isUp: servedBy !== null,
        // The last run of one that runs on has not ended.
        records:
          found !== null && isLeftAlone(found)
            ? records.filter(({ end }, i) => end !== 'unknown' || i < records.length - 1)
            : records,
      })),
    );
  }
  if (all.length === 0) return `no VM${ownUid === 0 ? '' : ' of yours'} runs under qemu-trap here\n`;
  const table = columns([['NAME', 'PID', 'QEMU', 'GUEST', 'UPTIME', 'SIGNAL', 'LEFT', 'LAST STOP'], ...all.map(row)]);
  const below = all.flatMap(advice);
  return `${table}\n${below.length > 0 ? `\n${below.join('\n')}\n` : ''}`;
}

/** Why nothing is known of a VM that does not run. */
function whyUnknown(history: string | null): string {
  return history !== null && isThere(history)
    ? `its history ${history} has no line that can be read: move it away`
    : 'no VM of that name runs, or has run, under qemu-trap here: qemu-trap --status lists the running ones';
}

function isFirst(all: readonly Reported[], at: number): boolean {
  return all.findIndex(({ name }) => name === all[at]?.name) === at;
}

/** The VMs that are asked for. */
interface Asked {
  /** Those of the names, or all that run, and, for a program that watches a host, those that have run. */
  readonly all: readonly Reported[];
  /** For people who ask about a host: those that have run, and do not. */
  readonly unlisted: readonly Reported[];
}

/** @throws {UsageError} for one that neither runs nor has run */
function findAll({ names, runDir, stateDir, format, isAlert }: StatusCall, env: NodeJS.ProcessEnv): Asked {
  if (!hasProc())
    throw new UsageError('--status: /proc is not mounted, so running VMs cannot be found: mount -t proc proc /proc');
  const running = findVms(runDir, stateDir, env).map((found): Reported => {
    const { name } = found;
    const records = hasOwnRecords(found) ? found.records : recordsOf(name);
    return { name, found, servedBy: found.pid, records };
  });
  function recordsOf(name: string): readonly RunRecord[] {
    const path = historyFile(stateDir, name, env);
    return path === null ? [] : recall(path);
  }
  const stopped = (name: string): Reported => {
    const path = historyFile(stateDir, name, env);
    const living = path === null ? null : livingTrap(path);
    return {
      name,
      found: null,
      servedBy: living?.hasEnded === false ? pidOf(living.trap) : null,
      records: recordsOf(name),
    };
  };
  const isWatched = format === 'prometheus' || isAlert;
  const isOfHost = names.length === 0 && (isWatched || (format === 'text' && runDir === null));
  // One that was named by default has another name with the next change of its command line.
  const remembered = isOfHost ? rememberedVms(stateDir, env).filter((name) => !isDefaultName(name)) : [];
  const rest = remembered.filter((name) => !running.some((each) => each.name === name)).map(stopped);
  const all =
    names.length === 0
      ? [...running, ...(isWatched ? rest : [])]
      : names.flatMap((name) => {
          const found = running.filter((each) => each.name === name);
          if (found.length > 0) return found;
          const vm = stopped(name);
          if (vm.records.length === 0 && vm.servedBy === null)
            throw new UsageError(`${name}: ${whyUnknown(historyFile(stateDir, name, env))}`);
          return [vm];
        });
  all.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  return { all, unlisted: isWatched ? [] : rest };
}
