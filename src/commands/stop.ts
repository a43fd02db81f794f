import { basename } from 'node:path';
import { isatty } from 'node:tty';
import { plainLine } from '../log/plain-text.js';
import type { Command } from '../options/command.js';
import { status as exitStatuses } from '../outcome/exit-status.js';
import { runFiles } from '../run-dir/files.js';
import { restarterOf } from '../service-manager/restarter.js';
import { readStatus, monotonicMs } from '../status/file.js';
import { type FoundVm, findVms, ownUid } from '../status/find.js';
import { historyFile, recall } from '../status/history.js';
import { holdsLock } from '../status/lock-holder.js';
import type { RunRecord } from '../status/run-record.js';
import { identify, isIdentityAlive } from '../system/process-identity.js';
import { hasProc } from '../system/processes.js';
import { pause } from '../system/timer.js';
import { UsageError } from '../system/usage-error.js';

/** How often the VMs are looked at, in milliseconds: Node cannot wait for a process that is no child. */
const lookEveryMs = 50;
const drawEveryMs = 1_000;

type Print = (text: string) => void;

/** A VM that is told to stop. */
interface Stopping {
  readonly name: string;
  readonly runDir: string;
  readonly pid: number;
  /** Its qemu-trap, by pid and start time. */
  readonly trap: string;
  readonly history: string | null;
  /** The run that was the last one before. */
  readonly before: string | null;
}

const nameOf = (found: FoundVm): string => found.status?.vm ?? basename(found.runDir);

function lastOf(history: string | null): RunRecord | null {
  return history === null ? null : (recall(history).at(-1) ?? null);
}

/** Tells each VM of one line; what others have named has no control characters. */
function tell(print: Print, name: string, what: string): void {
  print(`${plainLine(`${name}: ${what}`, '_')}\n`);
}

/** Why a VM cannot be stopped here, and what to do instead; `null`: it can. */
async function findObstacle({ pid, runDir }: FoundVm, env: NodeJS.ProcessEnv): Promise<string | null> {
  if (pid === null)
    return `its qemu-trap was killed, so no signal reaches its guest: the next start in ${runDir} takes it over`;
  if (!holdsLock(pid, runDir))
    return `process ${pid} is named as its qemu-trap, and does not hold its lock: it gets no signal`;
  const restarter = await restarterOf(pid, env);
  return restarter === null ? null : `${restarter.name} would start it again: write ${restarter.command}`;
}

function begin(found: FoundVm & { readonly pid: number }, stateDir: string | null, env: NodeJS.ProcessEnv): Stopping {
  const name = nameOf(found);
  const history = found.status?.history ?? historyFile(stateDir, name, env);
  const before = lastOf(history)?.run ?? null;
  const trap = identify(found.pid) ?? '';
  try {
    process.kill(found.pid, 'SIGTERM');
  } catch {
    // It has ended meanwhile, which is as well.
  }
  return { name, runDir: found.runDir, pid: found.pid, trap, history, before };
}

/** How the run of a VM that has ended went; `null`: nobody has written it. */
function endOf({ history, before }: Stopping): RunRecord | null {
  const last = lastOf(history);
  return last === null || last.run === before ? null : last;
}

/** What is still waited for, in a line that does not wrap. */
function progress(all: number, left: readonly Stopping[]): string {
  const each = left.map(({ name, runDir }) => {
    const until = readStatus(`${runDir}/${runFiles.status}`)?.serving[0]?.until ?? null;
    return until === null ? name : `${name} (${Math.max(0, Math.ceil((until - monotonicMs()) / 1_000))} s)`;
  });
  return plainLine(`${left.length} of ${all} still run: ${each.join(', ')}`, '_').slice(
    0,
    (process.stderr.columns || 80) - 1,
  );
}

async function waitForAll(stopping: readonly Stopping[], ended: (vm: Stopping) => void): Promise<void> {
  const isDrawn = isatty(2);
  const erase = (): void => void (isDrawn && process.stderr.write('\r\x1b[K'));
  let left = stopping;
  let drawAt = 0;
  while (left.length > 0) {
    const gone = left.filter(({ trap }) => !isIdentityAlive(trap));
    left = left.filter((vm) => !gone.includes(vm));
    if (gone.length > 0) erase();
    gone.forEach(ended);
    if (isDrawn && (gone.length > 0 || performance.now() >= drawAt) && left.length > 0) {
      process.stderr.write(`\r\x1b[K${progress(stopping.length, left)}`);
      drawAt = performance.now() + drawEveryMs;
    }
    if (left.length > 0) await pause(lookEveryMs);
  }
  erase();
}

/** @throws {UsageError} for a VM that root sees, and that is another user's alone */
function refuseOthers(names: readonly string[], all: readonly FoundVm[]): void {
  for (const name of names) {
    const found = all.filter((each) => nameOf(each) === name);
    const [other] = found;
    if (other !== undefined && !found.some(({ uid }) => uid === ownUid))
      throw new UsageError(
        `--stop ${name}: it is a VM of another user (uid ${other.uid}): run --stop as that user; nothing was stopped`,
      );
  }
}

/** The VMs that are asked for, and the names of those that do not run. */
function choose(
  names: readonly string[],
  running: readonly FoundVm[],
  isKnown: (name: string) => boolean,
): { readonly chosen: readonly FoundVm[]; readonly stopped: readonly string[] } {
  if (names.length === 0) return { chosen: running, stopped: [] };
  const stopped = names.filter((name) => !running.some((found) => nameOf(found) === name));
  const unknown = stopped.filter((name) => !isKnown(name));
  if (unknown.length > 0)
    throw new UsageError(
      `--stop ${unknown.join(' ')}: no VM of yours has that name: qemu-trap --status lists those that run; nothing was stopped`,
    );
  return { chosen: running.filter((found) => names.includes(nameOf(found))), stopped };
}

/**
 * Shuts VMs of this user down, and waits until they have ended.
 * @param print takes the words for people, as each ends
 * @returns 0 if all went down cleanly, or did not run; 124 if a guest was cut off, or may have been; 125 if one was refused
 * @throws {UsageError} for a name that is not known; nothing is stopped then
 */
export async function stop(
  { names, runDir, stateDir }: Extract<Command, { mode: 'stop' }>,
  env: NodeJS.ProcessEnv,
  print: Print,
): Promise<number> {
  if (!hasProc())
    throw new UsageError('--stop: /proc is not mounted, so running VMs cannot be found: mount -t proc proc /proc');
  const all = findVms(runDir, env);
  const running = all.filter(({ uid }) => uid === ownUid);
  const isKnown = (name: string): boolean => lastOf(historyFile(stateDir, name, env)) !== null;
  refuseOthers(names, all);
  const { chosen, stopped } = choose(names, running, isKnown);
  for (const name of stopped) tell(print, name, 'does not run');
  const obstacles = await Promise.all(chosen.map((found) => findObstacle(found, env)));
  let refused = 0;
  const stopping = chosen.flatMap((found, i) => {
    const obstacle = obstacles[i] ?? null;
    if (obstacle === null && found.pid !== null) return [begin({ ...found, pid: found.pid }, stateDir, env)];
    refused++;
    tell(print, nameOf(found), `not stopped: ${obstacle}`);
    return [];
  });
  let clean = 0;
  await waitForAll(stopping, (vm) => {
    const record = endOf(vm);
    if (record?.cut_off === false) clean++;
    tell(print, vm.name, record?.message ?? 'it has ended, and nobody has written how');
  });
  const others = stopping.length - clean;
  if (chosen.length + stopped.length > 1)
    print(
      `${clean} shut down cleanly, ${others} cut off or unknown, ${stopped.length} did not run, ${refused} not stopped\n`,
    );
  else if (chosen.length + stopped.length === 0) print('no VM of yours runs under qemu-trap here\n');
  if (refused > 0) return exitStatuses.failed;
  return others > 0 ? exitStatuses.forced : 0;
}
