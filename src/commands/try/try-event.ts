import { join } from 'node:path';
import { type HookFile, findEventHook, findLifecycleHook, isLifecycleHook } from '../../hook/find.js';
import type { Config } from '../../options/command.js';
import { status as exitStatuses } from '../../outcome/exit-status.js';
import { QmpClient } from '../../qmp/client.js';
import { dialMonitor } from '../../qmp/dial.js';
import type { RuleBook } from '../../rules/rule.js';
import type { SignalSpec } from '../../rules/spec.js';
import { runFiles } from '../../run-dir/files.js';
import { UsageError } from '../../system/usage-error.js';
import { type Logged, type Stage, rehearse } from './rehearsal.js';

/** How long QEMU has to take a connection, in milliseconds. */
const dialWithinMs = 10_000;

/** How long a guest has to do its part in it (SHUTDOWN), in milliseconds. */
const beginsWithinMs = 30_000;

/** How an event is made to happen. */
interface Making {
  /** QMP commands, one after the other; a line of the human monitor is one of them. */
  readonly commands: readonly (readonly [name: string, args?: Readonly<Record<string, unknown>>])[];
  /** Words for QEMU that it takes, which only the throw-away guest has. */
  readonly more?: readonly string[];
}

/** The monitor plays the guest, which knows nothing of these devices. */
const writePort = (port: string): Making['commands'][number] => [
  'human-monitor-command',
  { 'command-line': `o /b ${port}` },
];

const makings: Readonly<Record<string, Making>> = {
  RESET: { commands: [['system_reset']] },
  STOP: { commands: [['stop']] },
  RESUME: { commands: [['stop'], ['cont']] },
  SHUTDOWN: { commands: [['system_powerdown']] },
  // Bit 0 of pvpanic's port: the guest has panicked (docs/specs/pvpanic of QEMU).
  GUEST_PANICKED: { commands: [writePort('0x505 1')], more: ['-device', 'pvpanic', '-action', 'panic=pause'] },
  // The shortest time of the watchdog, two seconds, and it is not fed.
  WATCHDOG: { commands: [writePort('0x443 0xf')], more: ['-device', 'ib700', '-action', 'watchdog=none'] },
};

/** What QEMU would say with it, if it cannot be made (qapi/block-core, run-state, migration and qdev of QEMU). */
const examples: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  BLOCK_IO_ERROR: {
    ...{ device: 'ide0-hd0', 'node-name': '#block100', operation: 'write', action: 'stop', nospace: true },
    reason: 'No space left on device',
  },
  GUEST_PANICKED: { action: 'pause' },
  WATCHDOG: { action: 'reset' },
  MIGRATION: { status: 'completed' },
  DEVICE_DELETED: { device: 'net0', path: '/machine/peripheral/net0' },
};

/** The user's own QEMU may have none of the devices. */
function makingOf(name: string, isOurs: boolean): Making | null {
  const making = Object.hasOwn(makings, name) ? (makings[name] as Making) : null;
  return making !== null && (isOurs || making.more === undefined) ? making : null;
}

/** For the hook `end`: the guest is shut down, whatever hooks there are. */
const pressing: SignalSpec = {
  signal: 'SIGTERM',
  script: null,
  monitorCommand: undefined,
  defaultAction: 'quit',
  timeoutMs: beginsWithinMs,
};

/** By the outcome in the log. */
const outcomeWords: Readonly<Record<string, string>> = {
  'not-run': 'The hook was not run.',
  done: 'The hook did its job.',
  // It asks for nothing to be called off here.
  'not-now': 'The hook said "not now" (75), which changes nothing here.',
};

/** What is to be known of how it came about. */
function describeMaking(asked: string, making: Making | null): string {
  if (isLifecycleHook(asked)) return '';
  if (making === null)
    return ` It was run with an example, and the guest runs on as before: ${asked} cannot be made here.`;
  return making.more === undefined ? '' : ` Your own VM needs ${making.more.join(' ')} for it, too.`;
}

async function make({ commands }: Making, { dir, tell }: Stage): Promise<void> {
  const socket = await dialMonitor(join(dir, 'run', runFiles.qmp), dialWithinMs);
  const client = new QmpClient(socket, { onEvent: () => undefined, onClose: () => undefined });
  try {
    await client.ready;
    for (const [name, args] of commands) {
      tell(args === undefined ? name : `${name} ${JSON.stringify(args)}`);
      await client.execute(name, args);
    }
  } finally {
    socket.destroy();
  }
}

/** @throws {UsageError} if there is none */
function hookOf(asked: string, book: RuleBook): HookFile {
  const found = isLifecycleHook(asked) ? findLifecycleHook(asked, book.dirs) : findEventHook(asked, book.dirs);
  if (found[0] !== undefined) return found[0];
  throw new UsageError(
    `--try ${asked}: there is no hook for it: write one with --new-hook ${asked}, or name its directory with --hooks`,
  );
}

/**
 * Rehearses the hook of an event of QEMU's, or `start`, `ready` or `end`: makes it happen if that can be done, and else
 * runs the hook once with an example.
 * @returns 0 if the hook succeeded, else 125
 * @throws {UsageError} if there is no such hook
 */
export async function tryEvent(
  asked: string,
  config: Config,
  book: RuleBook,
  print: (text: string) => void,
): Promise<number> {
  const script = hookOf(asked, book);
  const making = makingOf(asked, config.qemu.length === 0);
  let outcome: string | null = null;
  let stage: Stage | null = null;
  const begin = (on: Stage): void => {
    stage = on;
    if (asked === 'start' || asked === 'ready') return;
    if (asked === 'end') {
      on.tell(`kill -TERM ${process.pid}`);
      process.kill(process.pid, 'SIGTERM');
      return;
    }
    if (making !== null) {
      make(making, on).catch((error: unknown) => on.tell(`it cannot be made: ${String(error)}`));
      return;
    }
    on.tell(`an example of ${asked}, which QEMU has not said`);
    const seconds = Math.floor(Date.now() / 1000);
    on.makeUp({ event: asked, data: examples[asked] ?? {}, timestamp: { seconds, microseconds: 0 } });
  };
  const onLog = (line: Logged, isEnding: boolean): void => {
    // An event may come again in the moment that is looked at afterwards.
    if (line.event !== 'hook-end' || line['occasion'] !== asked || (isEnding && outcome !== null)) return;
    outcome = String(line['outcome']);
    // After the hook `end` nothing is left to be ended.
    if (asked !== 'end') stage?.over();
  };
  const { isBegun, said, wentByItself } = await rehearse(
    {
      name: asked,
      about: making?.more === undefined ? script.path : `${script.path}, with QEMU's ${making.more.join(' ')}`,
      more: making?.more ?? [],
      beginsWithinMs: isLifecycleHook(asked) ? null : beginsWithinMs,
      ender: 'SIGQUIT',
      runsHookOf: (occasion) => occasion === asked,
      monitorOf: (monitors) => monitors.events,
      withMonitorAt: (monitors, path) => ({ ...monitors, events: path }),
      begin: (on) => {
        begin(on);
        // `start` has ended before the guest says that it is up, and `ready` may have.
        if (outcome !== null) on.over();
      },
      onLog,
      observer: null,
    },
    config,
    asked === 'end' ? { ...book, specs: new Map(book.specs).set('SIGTERM', pressing) } : book,
    print,
  );
  const isCutOff = asked === 'end' && !wentByItself;
  const isPrevented = asked === 'start' && outcome === 'not-now';
  const words = isPrevented
    ? 'The hook said "not now" (75), so QEMU was not started.'
    : `${outcomeWords[outcome ?? 'not-run'] ?? 'The hook failed.'}${isCutOff ? ' The guest was cut off.' : ''}`;
  const how = outcome === null ? '' : describeMaking(asked, making);
  const monitor =
    asked === 'start' || asked === 'end'
      ? ''
      : ` File descriptor 3 carried ${said.hook} lines to QEMU and ${said.QEMU} from it.`;
  const wasTried = isBegun || outcome !== null;
  print(`\n${wasTried ? `${words}${how}${monitor}` : 'QEMU exited before the guest was up, so nothing was tried.'}\n`);
  const didItsPart = outcome === 'done' || (outcome === 'not-now' && !isPrevented);
  return wasTried && didItsPart && !isCutOff ? 0 : exitStatuses.failed;
}
