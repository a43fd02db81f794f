import { existsSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { endLeftBy } from '../hook/descendants.js';
import { LeftGroups } from '../hook/hook-groups.js';
import { adoptQemu, type AdoptedQemu } from '../qemu/adopt.js';
import { isSameCommand, wasToResume } from '../qemu/argv.js';
import { findStarted } from '../qemu/socket-owner.js';
import { isStarting, notedQemu } from '../run-dir/noted-qemu.js';
import { incomingUris, type MonitorPaths } from '../qemu/launch-plan.js';
import type { RunDir } from '../run-dir/run-dir.js';
import { runFiles, signalOfHookFile } from '../run-dir/files.js';
import { openSavedState, type StateFile } from './saved-state.js';
import { trappableSignals, type SignalName } from '../signals/names.js';
import { errorText, UsageError } from '../system/usage-error.js';
import { hasProc } from '../system/processes.js';
import { isIdentityAlive, pidOf } from '../system/process-identity.js';
import type { Adoption, RunningQemu } from './context.js';
import { killQuietly, wakeStopped } from '../system/send-signal.js';
import { pause } from '../system/timer.js';

/*
 * The road to a QEMU that this qemu-trap did not start: one that was left running by a qemu-trap which was killed, or
 * one that the user names.
 */

/** How long a monitor has for its greeting; a QEMU that was killed with its qemu-trap first gives its memory back. */
const greetsWithinMs = 10_000;
const lookEveryMs = 50;

/** Stops the hooks that a killed qemu-trap has left, if there was one. */
export function leftoverHooksGone(runDir: RunDir): Promise<void> {
  const { predecessor, path, file } = runDir;
  if (predecessor === null) return Promise.resolve();
  const noted = notedQemu(runDir);
  const qemu = isIdentityAlive(noted) ? pidOf(noted) : null;
  return endLeftBy(predecessor, path, new LeftGroups(file(runFiles.hookGroups), qemu));
}

function hookMonitors({ path, file }: RunDir): Map<SignalName, string> {
  const monitors = new Map<SignalName, string>();
  for (const name of readdirSync(path)) {
    const signal = signalOfHookFile(name);
    if (signal !== null && trappableSignals.includes(signal)) monitors.set(signal, file(name));
  }
  return monitors;
}

/** One that was left while it still started may have no monitors yet, and one that was killed too takes its time to go. */
async function findLeftQemu({ runDir, monitors: { control }, onDeath }: TakeoverRequest): Promise<AdoptedQemu | null> {
  const until = performance.now() + greetsWithinMs;
  const identity = notedQemu(runDir);
  const wasStarting = isStarting(runDir);
  for (;;) {
    const lives = isIdentityAlive(identity);
    // One that SIGSTOP holds says nothing.
    if (lives) wakeStopped(pidOf(identity));
    // What is noted may be a wrapper that has gone, or that went with the one who was killed.
    const onTheirWay = wasStarting ? findStarted(runDir.path, runDir.file(runFiles.monitorsConfig)) : [];
    const known = lives && !wasStarting ? pidOf(identity) : null;
    const adopted = existsSync(control)
      ? await adoptQemu(control, known, Math.max(0, until - performance.now()))
      : null;
    if (adopted !== null || (!lives && onTheirWay.length === 0)) return adopted;
    // It was to go with its qemu-trap, and its guest has not run; a wrapper stood in front of it.
    if (wasStarting && onDeath === 'kill') onTheirWay.forEach(killQuietly);
    if (performance.now() > until)
      throw new UsageError(
        `process ${[...(lives ? [pidOf(identity)] : []), ...onTheirWay][0]} does not serve ${control}: stop that process if you want to start the VM anew`,
      );
    await pause(lookEveryMs);
  }
}

interface TakeoverRequest {
  readonly runDir: RunDir;
  /** As a QEMU that is started now would have them. */
  readonly monitors: MonitorPaths;
  /** The command line that is asked for now. */
  readonly qemu: readonly string[];
  readonly state: StateFile | null;
  /** As `--on-death` has it. */
  readonly onDeath: 'kill' | 'keep';
}

interface Takeover {
  /** `null` if no QEMU was left. */
  readonly left: RunningQemu | null;
  /** Settled when nothing is left of the hooks of a qemu-trap that was killed. */
  readonly cleared: Promise<void>;
}

/**
 * The QEMU that a qemu-trap which was killed has left running in this run directory.
 * @throws {UsageError} if there is one, and it cannot be served: its sockets stay
 */
export async function takeOver(request: TakeoverRequest): Promise<Takeover> {
  const { runDir, monitors, qemu, state } = request;
  const cleared = leftoverHooksGone(runDir);
  const adopted = await findLeftQemu(request).catch((error: unknown) => {
    runDir.leaves = true;
    const fix = hasProc() ? '' : ': mount /proc (mount -t proc proc /proc)';
    throw new UsageError(`cannot take over the QEMU left running in ${runDir.path}: ${errorText(error)}${fix}`);
  });
  if (adopted === null) return { left: null, cleared };
  const adoption: Adoption = {
    ageMs: adopted.ageMs,
    isOther: !isSameCommand(qemu, adopted.commandLine),
    sharesMonitor: false,
    cleared,
  };
  const saved =
    state !== null && existsSync(state.path) && wasToResume(adopted.commandLine) ? openSavedState(state) : null;
  const left: RunningQemu = {
    qemu: adopted,
    monitors: { ...monitors, hooks: hookMonitors(runDir) },
    runDir,
    saved: saved === null || 'fault' in saved ? null : saved,
    incoming: incomingUris(state?.path ?? null, null),
    adoption,
  };
  return { left, cleared };
}

/**
 * Makes sure that nothing in the run directory of a qemu-trap that only attaches is still needed: if another has left
 * its QEMU there, that one is to be taken over, and not attached to.
 * @throws {UsageError} if something is: all that is there stays
 */
export function refuseForeignRunDir(runDir: RunDir, socket: string, pid: number): void {
  const noted = notedQemu(runDir);
  const isLeft = isIdentityAlive(noted) && (pidOf(noted) !== pid || existsSync(runDir.file(runFiles.control)));
  if (!isLeft && realpathSync(dirname(socket)) !== realpathSync(runDir.path)) return;
  runDir.leaves = true;
  throw new UsageError(
    `--attach ${socket}: ${runDir.path} holds the sockets of a QEMU that qemu-trap started: start qemu-trap with its original command line to take that QEMU over, or name another directory with --run-dir`,
  );
}

/**
 * The QEMU that serves `socket`.
 * @throws {UsageError} if there is none
 */
export async function connectToQemu(socket: string): Promise<AdoptedQemu> {
  let adopted: AdoptedQemu | null;
  try {
    adopted = await adoptQemu(socket, null, greetsWithinMs);
  } catch (error) {
    throw error instanceof UsageError ? new UsageError(`--attach ${error.message}`) : error;
  }
  if (adopted === null) {
    // QEMU removes what is in the place of its socket, so this must not be answered with a QEMU to start.
    if (statSync(socket, { throwIfNoEntry: false })?.isSocket() === false)
      throw new UsageError(`--attach ${socket}: it is not a socket: name the socket of QEMU's QMP monitor`);
    throw new UsageError(
      `--attach ${socket}: nothing is listening on it: start QEMU with -qmp unix:${socket},server=on,wait=off`,
    );
  }
  return adopted;
}
