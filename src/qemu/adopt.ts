import { O_PATH } from '../system/descriptors.js';
import { closeSync, fstatSync, openSync } from 'node:fs';
import type { Socket } from 'node:net';
import { ageMs, commandLine, hasProc, readProcess } from '../system/processes.js';
import { UsageError } from '../system/usage-error.js';
import { dialMonitor } from '../qmp/dial.js';
import { keepReadable } from '../system/node-internals.js';
import { findServer, type SocketFile } from './socket-owner.js';
import { identify, isIdentityAlive } from '../system/process-identity.js';
import { type Qemu, type QemuExit, unknownExit } from './qemu.js';
import { killQuietly, wakeStopped } from '../system/send-signal.js';
import { startTimer } from '../system/timer.js';

/** How often a process is looked at that has closed its monitor. */
const firstLookMs = 20;
const longestLookMs = 1_000;

/** A QEMU that is no child of this qemu-trap. */
export interface AdoptedQemu extends Qemu {
  /** As it was executed; empty if that cannot be read. */
  readonly commandLine: readonly string[];
  /** How long it has been there, in milliseconds. */
  readonly ageMs: number;
}

/** How a QMP monitor begins (docs/interop/qmp-spec of QEMU), and one that spreads its words over lines (-qmp-pretty). */
const greetings = { greets: /^\{"QMP"/, pretty: /^\s*\{\s+"QMP"/ } as const;
/** What may become either, because it comes in pieces. */
const beginning = /^\s*(\{\s*("(Q(MP?)?)?)?)?$/;
const longestBeginning = 64;

type Greeting = 'greets' | 'pretty' | 'gone' | 'silent' | 'other';

/** `null` if it cannot be told yet. */
function kindOf(said: string): 'greets' | 'pretty' | 'other' | null {
  if (greetings.greets.test(said)) return 'greets';
  if (greetings.pretty.test(said)) return 'pretty';
  return beginning.test(said) && said.length < longestBeginning ? null : 'other';
}

/** Settled with what the peer has said, which stays unread, before it hung up or `ms` milliseconds went by. */
function probeGreeting(socket: Socket, ms: number): Promise<Greeting> {
  return new Promise((resolve) => {
    let said: Buffer = Buffer.alloc(0);
    const timer = startTimer(ms, () => settle('silent'));
    const settle = (how: Greeting): void => {
      timer.cancel();
      socket.removeAllListeners('readable').removeAllListeners('close');
      if (said.length > 0) socket.unshift(said);
      resolve(how);
    };
    socket.on('error', () => undefined);
    socket.once('close', () => settle('gone'));
    socket.on('readable', () => {
      const more = socket.read() as Buffer | null;
      if (more === null) return settle('gone');
      said = Buffer.concat([said, more]);
      const kind = kindOf(said.toString('latin1'));
      if (kind !== null) settle(kind);
    });
  });
}

/** Watches a process that is no child of ours: its monitor closes with it, and then it is looked at until it exits. */
function watch(
  pid: number,
  control: Socket,
): Pick<Qemu, 'gone' | 'look' | 'finish' | 'wasKilled' | 'wake' | 'kill' | 'reap'> {
  const identity = identify(pid) ?? '';
  const lives = (): boolean => isIdentityAlive(identity);
  let settle!: (exit: QemuExit) => void;
  const gone = new Promise<QemuExit>((resolve) => (settle = resolve));
  const look = (): boolean => {
    if (lives()) return false;
    // Its exit status is for its parent alone (wait(2)).
    settle(unknownExit);
    return true;
  };
  const follow = (ms: number): void => {
    if (!look()) startTimer(ms, () => follow(Math.min(2 * ms, longestLookMs)));
  };
  control.once('close', () => follow(firstLookMs));
  const watched = {
    gone,
    finish: async () => ({ exit: await gone, killedWrapper: null }),
    wasKilled: false,
    look: () => undefined,
    wake: () => lives() && wakeStopped(pid),
    kill: () => {
      if (!lives()) return;
      watched.wasKilled = true;
      killQuietly(pid);
    },
    reap: () => void look(),
  };
  return watched;
}

/** A connection to the socket that `path` leads to now, and the file of that one: the path may lead elsewhere later. */
async function dialFile(
  path: string,
  withinMs: number,
): Promise<{ readonly control: Socket; readonly file: SocketFile }> {
  const fd = openSync(path, O_PATH);
  try {
    const { dev, ino, uid } = fstatSync(fd);
    // Without /proc it cannot be found who serves it, and no process is killed.
    const control = await dialMonitor(hasProc() ? `/proc/self/fd/${fd}` : path, withinMs);
    return { control, file: { dev, ino, uid } };
  } finally {
    closeSync(fd);
  }
}

/**
 * Reaches a QEMU that runs already, by its QMP server socket.
 * @param known its pid, if that is known; else it is looked for
 * @param withinMs how long its monitor has for its greeting, in milliseconds
 * @returns `null` if no process listens there, or it hangs up before a greeting: it has exited, or is about to
 * @throws {UsageError} if one does, and cannot be served
 */
export async function adoptQemu(path: string, known: number | null, withinMs: number): Promise<AdoptedQemu | null> {
  const until = performance.now() + withinMs;
  const silent = (): UsageError =>
    new UsageError(
      `${path}: its monitor sent no greeting within ${Math.round(withinMs / 1000)} s: another client is using it (a monitor serves one), or QEMU hangs`,
    );
  let control: Socket;
  let file: SocketFile;
  try {
    ({ control, file } = await dialFile(path, withinMs));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ECONNREFUSED') return null;
    if (code === 'EAGAIN') throw silent();
    throw new UsageError(
      `${path}: cannot connect (${code}): name the socket of a QMP monitor, and run qemu-trap as root or as its owner`,
    );
  }
  const refuse = (error: UsageError): UsageError => {
    control.destroy();
    return error;
  };
  switch (await probeGreeting(control, until - performance.now())) {
    case 'gone':
      return null;
    case 'pretty':
      throw refuse(
        new UsageError(
          `${path}: its monitor spreads its output over several lines (-qmp-pretty, pretty=on): start QEMU with -qmp unix:${path},server=on,wait=off`,
        ),
      );
    case 'other':
      throw refuse(
        new UsageError(
          `${path}: this is not a QMP monitor: name the socket of one, such as -qmp unix:SOCKET,server=on,wait=off creates`,
        ),
      );
    case 'silent':
      throw refuse(silent());
    case 'greets':
      break;
  }
  const pid = known ?? findServer(path, file);
  const server = pid === null ? null : readProcess(pid);
  if (server === null) {
    throw refuse(
      new UsageError(
        `${path}: cannot find the process that serves it: run qemu-trap as root or as QEMU's user, in its network and pid namespaces`,
      ),
    );
  }
  keepReadable(control);
  return Object.assign(watch(server.pid, control), {
    pid: server.pid,
    control,
    reached: Promise.resolve(control),
    locate: () => true,
    isTied: false,
    bypassesUs: false,
    commandLine: commandLine(server.pid),
    ageMs: ageMs(server),
  });
}
