import { mkdtempSync, rmSync } from 'node:fs';
import { type Server, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { knownEvents } from '../../hook/event-names.js';
import { lifecycleHooks } from '../../hook/find.js';
import { type LogEvent, openLog } from '../../log/log.js';
import type { Config } from '../../options/command.js';
import { status as exitStatuses } from '../../outcome/exit-status.js';
import { usesTerminal } from '../../qemu/argv.js';
import type { MonitorPaths } from '../../qemu/launch-plan.js';
import { builtinRule } from '../../rules/builtin.js';
import { ruleFor } from '../../rules/resolve.js';
import { type Rule, type RuleBook, isIgnored, monitorCommandOf, scriptOf } from '../../rules/rule.js';
import { runFiles } from '../../run-dir/files.js';
import { parseSignal } from '../../signals/names.js';
import { longestSocketPath } from '../../system/socket-path.js';
import { atTerminal } from '../../system/terminal.js';
import { UsageError } from '../../system/usage-error.js';
import { supervise } from '../../vm/supervise.js';
import { guestSays } from './guest.js';
import { tapMonitor } from './tap.js';
import { throwAwayGuest, withSnapshot } from './throw-away-qemu.js';
import { Timeline } from './timeline.js';
import { Watcher, hookWords } from './watcher.js';
import { startTimer } from '../../system/timer.js';
import { type EndCause, isLate } from '../../outcome/end-cause.js';

/** How long the guest has to say that it is up, in milliseconds. */
const upWithinMs = 60_000;
/** What qemu-trap itself has to say on a hook's monitor when the hook has ended. */
const ownSpeech = 'qemu-trap-drain';
/** How long QEMU has to quit at the end, in milliseconds. */
const endsWithinMs = 10_000;
/** How long a guest that runs on is looked at: it may have been reset, say. */
const aftermathMs = 1_000;

/** The rule to be tried. */
function tried(asked: string, book: RuleBook): Rule {
  if (knownEvents.includes(asked) || lifecycleHooks.some((each) => each === asked))
    throw new UsageError(`--try ${asked}: only what a signal does can be rehearsed: name one, such as --try SIGTERM`);
  const parsed = parseSignal(asked);
  if ('error' in parsed) throw new UsageError(`--try ${asked}: ${parsed.error}`);
  const rule = ruleFor(parsed.signal, book);
  if (isIgnored(rule))
    throw new UsageError(
      `--try ${asked}: there is no rule or hook for ${parsed.signal}: write a hook with --new-hook ${parsed.signal}, or name its directory with --hooks`,
    );
  return rule;
}

/** Refuses a temporary directory whose sockets would be too long, before anything is made. */
function requireShortPath(dir: string): void {
  const longest = join(dir, 'run', runFiles.hook('SIGVTALRM'));
  if (Buffer.byteLength(longest) > longestSocketPath)
    throw new UsageError(
      `--try: the paths of sockets under ${tmpdir()} would be too long: set TMPDIR to a shorter directory`,
    );
}

/** Settled when the user at the terminal has pressed Enter; at once where nobody is there. */
function enterPressed(): Promise<void> {
  if (!atTerminal) return Promise.resolve();
  return new Promise((resolve) => process.stdin.once('data', () => resolve()));
}

/**
 * Rehearses what a signal does: starts a throw-away guest under qemu-trap, sends the signal, and tells all that
 * happens, what goes over the hook's file descriptor 3 included.
 * @param print takes the words for people
 * @returns 0 where the hook did its part and the guest was not cut off, else 125
 * @throws {UsageError} where there is nothing to be tried
 */
export async function tryOut(
  asked: string,
  config: Config,
  book: RuleBook,
  print: (text: string) => void,
): Promise<number> {
  const rule = tried(asked, book);
  const { signal } = rule;
  const dir = mkdtempSync(join(tmpdir(), 'qemu-trap-try-'));
  const timeline = new Timeline(print);
  const servers: Server[] = [];
  const isOurs = config.qemu.length === 0;
  let isSent = false;
  let ranOn = false;
  /** How the hook ended: the last of its steps. */
  let hookEnd: string | null = null;
  /** qemu-trap had to do the hook's part, or the chain has done nothing in its time. */
  let isMissed = false;
  /** How QEMU ended, in the words of the hook `end`. */
  let end: string | null = null;
  let said = { hook: 0, QEMU: 0 };
  // Ends the VM whatever the user's own hooks and rules make of it.
  const ender = signal === 'SIGQUIT' ? 'SIGINT' : 'SIGQUIT';
  const specs = new Map(book.specs).set(ender, {
    signal: ender,
    script: null,
    monitorCommand: null,
    defaultAction: 'quit',
    timeoutMs: endsWithinMs,
  });

  const send = (): void => {
    if (isSent) return;
    isSent = true;
    patience.cancel();
    timeline.tell('you', `kill -${signal.slice('SIG'.length)} ${process.pid}`);
    process.kill(process.pid, signal);
  };
  const quit = (why: string): void => {
    timeline.tell('you', `kill -${ender.slice('SIG'.length)} ${process.pid}: ${why}`);
    process.kill(process.pid, ender);
  };
  const patience = startTimer(upWithinMs, () =>
    quit(`the guest did not say that it is up within ${upWithinMs / 1000} s`),
  );
  // A user at the terminal says when the guest is up.
  if (!isOurs && atTerminal) patience.cancel();

  const onEvent = ({
    event,
    message,
    time,
    ...facts
  }: LogEvent & {
    readonly time: string;
    readonly signal?: string;
    readonly outcome?: string;
    readonly cause?: EndCause;
    readonly end?: string;
  }): void => {
    const at = Date.parse(time);
    if (facts.signal === signal) {
      if (event === 'hook-end') hookEnd = facts.outcome ?? null;
      if (
        event === 'next-link' ||
        event === 'failed' ||
        event === 'command-timeout' ||
        (event === 'default-action' && isLate(facts.cause ?? null))
      )
        isMissed = true;
    }
    if (event === 'exit') end = facts.end ?? null;
    timeline.tell(event === 'hook-output' ? 'hook' : 'qemu-trap', message, at);
    if (event !== 'ready' || isOurs) return;
    if (atTerminal) timeline.tell('qemu-trap', `press Enter when the guest is up: that sends ${signal}`);
    void enterPressed().then(send);
  };
  const log = openLog({ format: 'json', priorities: false, vm: 'try' }, (line) =>
    onEvent(JSON.parse(line.toString()) as Parameters<typeof onEvent>[0]),
  );

  const tap = async (monitors: MonitorPaths): Promise<MonitorPaths> => {
    const path = join(dir, 'fd3');
    servers.push(
      await tapMonitor(
        monitors.hooks.get(signal) ?? monitors.lateHooks,
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
    return { ...monitors, hooks: new Map([...monitors.hooks, [signal, path]]) };
  };

  try {
    requireShortPath(dir);
    const qemu = isOurs ? throwAwayGuest(dir) : withSnapshot(config.qemu);
    if (isOurs) {
      const serial = createServer((socket) =>
        createInterface(socket.on('error', () => undefined)).on('line', (line) => {
          timeline.tell('guest', line.trim().replace(/^guest: /, ''));
          if (line.includes(guestSays.up)) send();
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
      `${signal}: ${scriptOf(rule)?.path ?? monitorCommandOf(rule) ?? 'no hook'}, ${isOurs ? 'with a throw-away guest that hears only its power button' : 'with your QEMU and -snapshot'}\n\n`,
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
      runsLifecycleHooks: false,
      observers: [
        new Watcher(signal, () => {
          if (ranOn) return;
          ranOn = true;
          startTimer(aftermathMs, () => quit('the rehearsal is over'));
        }),
      ],
    });
    log.flush();
    timeline.flush();
    const wentByItself = end === 'guest-shutdown' || end === 'guest-reset';
    // It means: now, and never mind the guest.
    const isToCutOff = builtinRule(signal).monitorCommand === null && rule.defaultAction !== 'none';
    const didItsPart = !isMissed && (scriptOf(rule) === null || ['done', 'ended', 'not-now'].includes(hookEnd ?? ''));
    const guest = wentByItself
      ? 'The guest shut itself down.'
      : ranOn
        ? 'The guest kept running.'
        : 'The guest was cut off.';
    print(
      `\n${isSent ? `${hookWords(rule, didItsPart, hookEnd)}${guest} File descriptor 3 carried ${said.hook} lines to QEMU and ${said.QEMU} from it.` : 'QEMU exited before the signal was sent, so nothing was tried.'}\n`,
    );
    return isSent && didItsPart && (wentByItself || ranOn || isToCutOff) ? 0 : exitStatuses.failed;
  } finally {
    patience.cancel();
    log.flush();
    timeline.flush();
    for (const server of servers) server.close();
    rmSync(dir, { recursive: true, force: true });
  }
}
