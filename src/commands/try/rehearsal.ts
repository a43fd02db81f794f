import { mkdtempSync, rmSync } from 'node:fs';
import { type Server, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type LogEvent, openLog } from '../../log/log.js';
import type { Config } from '../../options/command.js';
import { usesTerminal } from '../../qemu/argv.js';
import type { MonitorPaths } from '../../qemu/launch-plan.js';
import type { QmpEvent } from '../../qmp/messages.js';
import type { RuleBook } from '../../rules/rule.js';
import { runFiles } from '../../run-dir/files.js';
import type { SignalName } from '../../signals/names.js';
import { longestSocketPath } from '../../system/socket-path.js';
import { atTerminal } from '../../system/terminal.js';
import { formatSeconds } from '../../system/duration.js';
import { startTimer, type Timer } from '../../system/timer.js';
import { UsageError } from '../../system/usage-error.js';
import type { Observer } from '../../vm/context.js';
import { supervise } from '../../vm/supervise.js';
import { guestSays } from './guest.js';
import { tapMonitor } from './tap.js';
import { throwAwayGuest, withSnapshot } from './throw-away-qemu.js';
import { Timeline } from './timeline.js';

/** How long the guest has to say that it is up, in milliseconds. */
const upWithinMs = 60_000;
/** What qemu-trap itself has to say on a hook's monitor when the hook has ended. */
const ownSpeech = 'qemu-trap-drain';
/** How long QEMU has to quit at the end, in milliseconds. */
const endsWithinMs = 10_000;
/** How long a guest that runs on is looked at: it may have been reset, say. */
const aftermathMs = 1_000;

/** A line of qemu-trap's log. */
export type Logged = LogEvent & { readonly time: string } & Readonly<Record<string, unknown>>;

/** What is tried, and how. */
export interface Subject {
  /** A signal, or the name of what a hook is for. */
  readonly name: string;
  /** The first line for people, without the name. */
  readonly about: string;
  /** Words for QEMU that only a throw-away guest has. */
  readonly more: readonly string[];
  /** How long what was begun has until the hook runs, in milliseconds; `null`: its rule says. */
  readonly beginsWithinMs: number | null;
  /** Ends the VM whatever the user's own hooks and rules make of it: another signal than the one that is tried. */
  readonly ender: SignalName;
  readonly runsHookOf: (occasion: string) => boolean;
  /** The monitor of the hook that is tried. */
  monitorOf(monitors: MonitorPaths): string;
  /** The same monitors, with that one at `path`. */
  withMonitorAt(monitors: MonitorPaths, path: string): MonitorPaths;
  /** The guest is up. */
  begin(stage: Stage): void;
  /**
   * Something is told in the log.
   * @param isEnding the rehearsal itself ends the VM, and what it then cuts short
   */
  onLog(line: Logged, isEnding: boolean): void;
  readonly observer: ((stage: Stage) => Observer) | null;
}

/** Where it is tried. */
export interface Stage {
  readonly dir: string;
  /** Tells what you do. */
  tell(what: string): void;
  /** Tells the VM of an event that QEMU has not said. */
  makeUp(event: QmpEvent): void;
  /** It is over: the VM is ended after a moment. */
  over(): void;
}

export interface Rehearsed {
  /** What was to be tried has been begun. */
  readonly isBegun: boolean;
  /** It was over while the guest ran on. */
  readonly ranOn: boolean;
  /** The guest has shut down, or reset itself under -no-reboot. */
  readonly wentByItself: boolean;
  /** Lines over the hook's file descriptor 3. */
  readonly said: { readonly hook: number; readonly QEMU: number };
}

/** Refuses a temporary directory whose sockets would be too long, before anything is made. */
function requireShortPath(dir: string): void {
  const longest = join(dir, 'run', runFiles.hook('SIGVTALRM'));
  if (Buffer.byteLength(longest) > longestSocketPath)
    throw new UsageError(
      `--try: the paths of sockets under ${tmpdir()} would be too long: set TMPDIR to a shorter directory`,
    );
}

/** Settled when the user at the terminal has pressed Enter; at once if there is no user. */
function enterPressed(): Promise<void> {
  if (!atTerminal) return Promise.resolve();
  return new Promise((resolve) => process.stdin.once('data', () => resolve()));
}

/**
 * Starts a guest under qemu-trap, has `subject` begin when it is up, and tells all that happens, what goes over the
 * hook's file descriptor 3 included.
 * @param print takes the words for people
 * @throws {UsageError} if it cannot be tried here
 */
export async function rehearse(
  subject: Subject,
  config: Config,
  book: RuleBook,
  print: (text: string) => void,
): Promise<Rehearsed> {
  const dir = mkdtempSync(join(tmpdir(), 'qemu-trap-try-'));
  const timeline = new Timeline(print);
  const servers: Server[] = [];
  const isOurs = config.qemu.length === 0;
  let isBegun = false;
  let isEnding = false;
  let ranOn = false;
  let wentByItself = false;
  let said = { hook: 0, QEMU: 0 };
  // The guest may say that it is up before its VM is served.
  const early: QmpEvent[] = [];
  let makeUp: Stage['makeUp'] = (event) => void early.push(event);
  let impatience = null as Timer | null;
  const { ender } = subject;
  const specs = new Map(book.specs).set(ender, {
    signal: ender,
    script: null,
    monitorCommand: null,
    defaultAction: 'quit',
    timeoutMs: endsWithinMs,
  });

  const tell = (what: string): void => timeline.tell('you', what);
  const quit = (why: string): void => {
    isEnding = true;
    tell(`kill -${ender.slice('SIG'.length)} ${process.pid}: ${why}`);
    process.kill(process.pid, ender);
  };
  const patience = startTimer(upWithinMs, () =>
    quit(`the guest did not say that it is up within ${upWithinMs / 1000} s`),
  );
  // A user at the terminal says when the guest is up.
  if (!isOurs && atTerminal) patience.cancel();
  const stage: Stage = {
    dir,
    tell,
    makeUp: (event) => makeUp(event),
    over: () => {
      if (ranOn) return;
      ranOn = true;
      startTimer(aftermathMs, () => quit('the rehearsal is over'));
    },
  };
  const begin = (): void => {
    if (isBegun) return;
    isBegun = true;
    patience.cancel();
    if (subject.beginsWithinMs !== null)
      impatience = startTimer(subject.beginsWithinMs, () =>
        quit(`${subject.name} has not come within ${formatSeconds(subject.beginsWithinMs ?? 0)}`),
      );
    subject.begin(stage);
  };

  const log = openLog({ format: 'json', priorities: false, stamped: false, vm: 'try' }, (line) => {
    const logged = JSON.parse(line.toString()) as Logged;
    const { event, message, time } = logged;
    if (event === 'hook-start' && logged['occasion'] === subject.name) impatience?.cancel();
    subject.onLog(logged, isEnding);
    if (event === 'exit') wentByItself = ['guest-shutdown', 'guest-reset'].includes(String(logged['end']));
    timeline.tell(event === 'hook-output' ? 'hook' : 'qemu-trap', message, Date.parse(time));
    if (event !== 'ready' || isOurs) return;
    if (atTerminal) timeline.tell('qemu-trap', `press Enter when the guest is up: that begins ${subject.name}`);
    void enterPressed().then(begin);
  });

  const tap = async (monitors: MonitorPaths): Promise<MonitorPaths> => {
    const path = join(dir, 'fd3');
    servers.push(
      await tapMonitor(
        subject.monitorOf(monitors),
        path,
        (speaker, line) => {
          // The next connection is made when this one's hook has ended.
          if (ranOn) return;
          said = { ...said, [speaker]: said[speaker] + 1 };
          timeline.tell(speaker === 'hook' ? 'fd 3  >' : 'fd 3  <', line);
        },
        (line) => line.includes(ownSpeech),
      ),
    );
    return subject.withMonitorAt(monitors, path);
  };

  try {
    requireShortPath(dir);
    const qemu = isOurs ? [...throwAwayGuest(dir), ...subject.more] : withSnapshot(config.qemu);
    if (isOurs) {
      const serial = createServer((socket) =>
        createInterface(socket.on('error', () => undefined)).on('line', (line) => {
          timeline.tell('guest', line.trim().replace(/^guest: /, ''));
          if (line.includes(guestSays.up)) begin();
        }),
      );
      await new Promise<void>((resolve) => serial.listen(join(dir, 'serial'), resolve));
      servers.push(serial);
    } else if (atTerminal && usesTerminal(config.qemu)) {
      throw new UsageError(
        '--try: the guest uses the terminal on which you would press Enter: leave out -nographic and stdio',
      );
    }
    print(
      `${subject.name}: ${subject.about}, ${isOurs ? 'with a throw-away guest that reacts only to its power button' : 'with your QEMU and -snapshot'}\n\n`,
    );
    await supervise({
      config: {
        ...config,
        qemu,
        name: 'try',
        runDir: join(dir, 'run'),
        stateDir: join(dir, 'state'),
        onDeath: 'kill',
        readyFd: null,
      },
      vm: 'try',
      book: { ...book, specs },
      log,
      tap,
      runsHookOf: subject.runsHookOf,
      makesUp: (take) => {
        makeUp = take;
        early.splice(0).forEach(take);
      },
      keepsFailedStarts: true,
      observers: subject.observer === null ? [] : [subject.observer(stage)],
    });
    log.flush();
    timeline.flush();
    return { isBegun, ranOn, wentByItself, said };
  } finally {
    patience.cancel();
    impatience?.cancel();
    log.flush();
    timeline.flush();
    for (const server of servers) server.close();
    rmSync(dir, { recursive: true, force: true });
  }
}
