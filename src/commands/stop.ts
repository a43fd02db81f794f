import { isatty } from 'node:tty';
import { plainLine } from '../log/plain-text.js';
import type { Command } from '../options/command.js';
import { status as exitStatuses } from '../outcome/exit-status.js';
import { restarterOf } from '../service-manager/restarter.js';
import { type FoundVm, findVms, ownUid } from '../status/find.js';
import { historyFile, livingTrap, recall, rememberedVms } from '../status/history.js';
import { holdsLock } from '../status/lock-holder.js';
import { pidOf } from '../system/process-identity.js';
import { hasProc } from '../system/processes.js';
import { isInBackground } from '../system/terminal.js';
import { pause } from '../system/timer.js';
import { UsageError } from '../system/usage-error.js';
import { type StopOutcome, StoppingVm } from './stopping-vm.js';

/** How often the VMs are looked at, in milliseconds: Node cannot wait for a process that is no child. */
const lookEveryMs = 50;
const drawEveryMs = 1_000;

type Print = (text: string) => void;

/** Tells of a VM in one line; what others have named has no control characters. */
function tell(print: Print, name: string, what: string): void {
  print(`${plainLine(`${name}: ${what}`, '_')}\n`);
}

/** Why a VM cannot be stopped here, and what to do instead; `null`: it can. */
async function findObstacle({ pid, runDir, qemuPid }: FoundVm, env: NodeJS.ProcessEnv): Promise<string | null> {
  if (pid === null)
    return `its qemu-trap was killed, so no signal reaches its guest: the next start in ${runDir} takes it over`;
  // One without a run directory was found by its lock.
  if (runDir !== null && !holdsLock(pid, runDir, qemuPid))
    return `process ${pid} is named as its qemu-trap, and does not hold its lock: it gets no signal`;
  const restarter = await restarterOf(pid, env);
  return restarter === null ? null : `${restarter.name} would start it again: write ${restarter.command}`;
}

/** What is still waited for, in a line that does not wrap. */
function progress(all: number, left: readonly StoppingVm[]): string {
  const each = left.map((vm) => vm.progress).join(', ');
  const line = plainLine(`${left.length} of ${all} still run: ${each}`, '_').replaceAll('\t', '_');
  return line.slice(0, (process.stderr.columns || 80) - 1);
}

async function waitForAll(
  stopping: readonly StoppingVm[],
  env: NodeJS.ProcessEnv,
  ended: (vm: StoppingVm, outcome: StopOutcome) => void,
): Promise<void> {
  const isDrawn = isatty(2) && env['TERM'] !== 'dumb' && !isInBackground();
  const erase = (): void => void (isDrawn && process.stderr.write('\r\x1b[K'));
  let left = stopping;
  let drawAt = 0;
  while (left.length > 0) {
    const outcomes = new Map(left.map((vm) => [vm, vm.look()] as const));
    const over = left.filter((vm) => outcomes.get(vm) !== null);
    left = left.filter((vm) => outcomes.get(vm) === null);
    if (over.length > 0) erase();
    for (const vm of over) ended(vm, outcomes.get(vm) as StopOutcome);
    if (isDrawn && (over.length > 0 || performance.now() >= drawAt) && left.length > 0) {
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
    const found = all.filter((each) => each.name === name);
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
  const stopped = names.filter((name) => !running.some((found) => found.name === name));
  const unknown = stopped.filter((name) => !isKnown(name));
  if (unknown.length > 0)
    throw new UsageError(
      `--stop ${unknown.join(' ')}: no VM of yours has that name: qemu-trap --status lists those that run; nothing was stopped`,
    );
  return { chosen: running.filter((found) => names.includes(found.name)), stopped };
}

/** VMs that no run directory shows, as their histories have them. */
interface Hidden {
  /** QEMU has exited, and hooks still run. */
  readonly ending: readonly StoppingVm[];
  readonly served: readonly { readonly name: string; readonly pid: number }[];
  readonly atRest: readonly string[];
}

function findHidden(names: readonly string[], historyOf: (name: string) => string): Hidden {
  const ending: StoppingVm[] = [];
  const served: { name: string; pid: number }[] = [];
  const atRest: string[] = [];
  for (const name of names) {
    const history = historyOf(name);
    const living = livingTrap(history);
    if (living === null) atRest.push(name);
    else if (living.hasEnded) ending.push(new StoppingVm({ name, trap: living.trap, qemu: '', runDir: null, history }));
    else served.push({ name, pid: pidOf(living.trap) });
  }
  return { ending, served, atRest };
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
  const all = findVms(runDir, stateDir, env);
  const running = all.filter(({ uid }) => uid === ownUid);
  const history = (name: string): string => historyFile(stateDir, name, env) ?? '';
  const isKnown = (name: string): boolean => recall(history(name)).length > 0 || livingTrap(history(name)) !== null;
  refuseOthers(names, all);
  const { chosen, stopped } = choose(names, running, isKnown);
  const remembered = names.length > 0 || runDir !== null ? stopped : rememberedVms(stateDir, env);
  const { ending, served, atRest } = findHidden(
    remembered.filter((name) => !chosen.some((found) => found.name === name)),
    history,
  );
  const notRunning = stopped.filter((name) => atRest.includes(name));
  for (const name of notRunning) tell(print, name, 'not running');
  for (const { name, pid } of served) {
    const where = 'in a run directory that is not to be found: name that with --run-dir';
    tell(print, name, `not stopped: qemu-trap (pid ${pid}) serves it ${where}`);
  }
  const obstacles = await Promise.all(chosen.map((found) => findObstacle(found, env)));
  let refused = served.length;
  const told = chosen.flatMap((found, i) => {
    const obstacle = obstacles[i] ?? null;
    if (obstacle === null && found.pid !== null) return [StoppingVm.tell({ ...found, pid: found.pid }, stateDir, env)];
    refused++;
    tell(print, found.name, `not stopped: ${obstacle}`);
    return [];
  });
  const counts = { clean: 0, 'not-clean': 0, 'not-stopped': refused };
  await waitForAll([...ending, ...told], env, ({ name }, { kind, words }) => {
    counts[kind]++;
    tell(print, name, words);
  });
  const asked = chosen.length + notRunning.length + served.length + ending.length;
  if (asked === 0) print('no VM of yours runs under qemu-trap here\n');
  if (asked > 1) {
    const sums: [number, string][] = [
      [counts.clean, 'shut down cleanly'],
      [counts['not-clean'], 'cut off or unknown'],
      [notRunning.length, 'not running'],
      [counts['not-stopped'], 'not stopped'],
    ];
    print(`${sums.flatMap(([count, words]) => (count === 0 ? [] : [`${count} ${words}`])).join(', ')}\n`);
  }
  if (counts['not-stopped'] > 0) return exitStatuses.failed;
  return counts['not-clean'] > 0 ? exitStatuses.forced : 0;
}
