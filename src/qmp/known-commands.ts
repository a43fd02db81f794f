import { nearest } from '../system/near-miss.js';
import type { QmpClient } from './client.js';
import { qmpCommandFor } from './monitor-command.js';
import { QmpError } from './messages.js';

type Monitor = Pick<QmpClient, 'execute'>;

/** The names of QEMU's QMP commands. */
async function qmpCommands(monitor: Monitor): Promise<Set<string>> {
  const commands = (await monitor.execute('query-commands')) as readonly { readonly name: string }[];
  return new Set(commands.map(({ name }) => name));
}

/** Whether the human monitor knows a command by the first word of `line`; it says so when asked for help on it. */
async function isHumanCommand(monitor: Monitor, line: string): Promise<boolean> {
  const [name = ''] = line.trim().split(/\s+/);
  try {
    return !/^unknown command/.test(
      String(await monitor.execute('human-monitor-command', { 'command-line': `help ${name}` })),
    );
  } catch (error) {
    if (error instanceof QmpError) return true;
    throw error;
  }
}

/** A command that QEMU does not know. */
export interface UnknownCommand {
  /** As it was written. */
  readonly line: string;
  /** The QMP command that was probably meant. */
  readonly meant: string | null;
}

/**
 * Those of `lines` that QEMU has no command for, of either monitor.
 * @throws {MonitorClosed} if QEMU has exited before it answered
 */
export async function findUnknownCommands(monitor: Monitor, lines: readonly string[]): Promise<UnknownCommand[]> {
  if (lines.length === 0) return [];
  const known = await qmpCommands(monitor);
  const unknown: UnknownCommand[] = [];
  for (const line of lines) {
    if (known.has(qmpCommandFor(line.trim())?.name ?? '') || (await isHumanCommand(monitor, line))) continue;
    unknown.push({ line, meant: nearest(line.trim().split(/\s/)[0] ?? '', [...known]) });
  }
  return unknown;
}

/**
 * The names of QEMU's events, by its own schema (qapi/introspect.json of QEMU).
 * @throws {MonitorClosed} if QEMU has exited before it answered
 */
export async function queryEvents(monitor: Monitor): Promise<readonly string[]> {
  const schema = (await monitor.execute('query-qmp-schema')) as readonly {
    readonly name: string;
    readonly 'meta-type': string;
  }[];
  return schema.filter((entity) => entity['meta-type'] === 'event').map(({ name }) => name);
}
