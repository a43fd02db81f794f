import type { QmpClient } from './client.js';
import { QmpError } from './messages.js';

/** How a monitor command went; `output` is what QEMU said, without a line feed at its end. */
export interface CommandResult {
  readonly ok: boolean;
  readonly output: string;
}

/*
 * The human monitor has no error status: a command that failed says so in words. These are the words of
 * monitor/hmp.c (parsing), of hmp_handle_error() (execution), and of commands that print their own, of QEMU.
 */
const humanError =
  /^(Error: |unknown command: |invalid |Invalid |Could not |Failed to |Command '[^']*' not |Try "help |Expected |Must specify |Device '[^']*' not found|Mouse at index '[^']*' not found|user mode network stack not in use|unknown event |.*: (extraneous characters|unsupported option|string expected|filename expected|block device name expected|expected ))/m;

/** True where the output of a human monitor command is an error text. */
export function isHumanError(output: string): boolean {
  return humanError.test(output);
}

/** Commands that take a password among their words (hmp-commands.hx of QEMU). */
const secretive: readonly string[] = ['set_password', 'change', 'object_add', 'block_passwd'];

/** A monitor command as a log may show it. */
export function shownCommand(command: string): string {
  const [name = '', ...rest] = command.trim().split(/\s+/);
  return rest.length > 0 && secretive.includes(name) ? `${name} ...` : command;
}

/**
 * Runs what a user wrote as `monitorcommand=`: a QMP command where QEMU knows one by that name, else a line of the
 * human monitor.
 * @throws {MonitorClosed} where QEMU has gone before it answered
 */
export async function runMonitorCommand(client: QmpClient, command: string): Promise<CommandResult> {
  const line = command.trim();
  if (!/\s/.test(line)) {
    try {
      const value = await client.execute(line);
      const empty = typeof value === 'object' && value !== null && Object.keys(value).length === 0;
      return { ok: true, output: empty ? '' : JSON.stringify(value) };
    } catch (error) {
      if (!(error instanceof QmpError)) throw error;
      if (error.errorClass !== 'CommandNotFound') return { ok: false, output: error.desc };
    }
  }
  try {
    const output = String(await client.execute('human-monitor-command', { 'command-line': line })).trim();
    return { ok: !isHumanError(output), output };
  } catch (error) {
    if (error instanceof QmpError) return { ok: false, output: error.desc };
    throw error;
  }
}
