import type { QmpClient } from './client.js';
import { QmpError } from './messages.js';

/** How a monitor command went; `output` is what QEMU said, without a line feed at its end. */
export interface CommandResult {
  readonly ok: boolean;
  readonly output: string;
  /** The human monitor has no status: whether it went well is read off its words. */
  readonly isGuess: boolean;
}

interface QmpCommand {
  readonly name: string;
  readonly args: Readonly<Record<string, unknown>>;
}

const mebibyte = 2 ** 20;

/** Lines of the human monitor that QMP has a command of the same meaning for, and with it a status (hmp-commands.hx of QEMU). */
const inQmp: readonly [line: RegExp, command: (...words: string[]) => QmpCommand][] = [
  [
    /^(device_del|object_del|netdev_del) (\S+)$/,
    (name = '', id) => ({ name: name === 'object_del' ? 'object-del' : name, args: { id } }),
  ],
  [/^balloon (\d+)$/, (megabytes) => ({ name: 'balloon', args: { value: Number(megabytes) * mebibyte } })],
  [/^set_link (\S+) (on|off)$/, (name, up) => ({ name: 'set_link', args: { name, up: up === 'on' } })],
  [/^screendump (\S+)$/, (filename) => ({ name: 'screendump', args: { filename } })],
  [/^set_password (\S+) (\S+)$/, (protocol, password) => ({ name: 'set_password', args: { protocol, password } })],
  [/^change vnc password (\S+)$/, (password) => ({ name: 'change-vnc-password', args: { password } })],
  [
    /^sendkey (?!.*0x)([a-z0-9_]+(?:-[a-z0-9_]+)*)$/,
    (keys = '') => ({ name: 'send-key', args: { keys: keys.split('-').map((key) => ({ type: 'qcode', data: key })) } }),
  ],
  [/^migrate -d (\S+)$/, (uri) => ({ name: 'migrate', args: { uri } })],
  [/^nmi$/, () => ({ name: 'inject-nmi', args: {} })],
];

/** A command with its arguments as QMP has them: `migrate {"uri":"tcp:host:4444"}`. */
const withArguments = /^([A-Za-z][\w-]*)\s+(\{.*\})$/s;

/**
 * The QMP command for a line, with its arguments.
 * @returns `null` if there is none, and the human monitor has to do
 */
export function qmpCommandFor(line: string): QmpCommand | null {
  if (!/\s/.test(line) && line !== 'nmi') return { name: line, args: {} };
  const [, name, json] = withArguments.exec(line) ?? [];
  if (name !== undefined && json !== undefined) {
    try {
      return { name, args: JSON.parse(json) as Record<string, unknown> };
    } catch {
      return null;
    }
  }
  for (const [pattern, command] of inQmp) {
    const [match, ...words] = pattern.exec(line.replaceAll(/\s+/g, ' ')) ?? [];
    if (match !== undefined) return command(...words);
  }
  return null;
}

/*
 * The human monitor has no error status: a command that failed says so in words. These are the words of
 * monitor/hmp.c (parsing), of hmp_handle_error() (execution), and of commands that print their own, of QEMU.
 */
const humanError =
  /^(Error: |unknown command: |invalid |Invalid |Could not |Failed to |Command '[^']*' not |Try "help |Expected |Must specify |Device '[^']*' not found|Mouse at index '[^']*' not found|user mode network stack not in use|unknown event |.*: (extraneous characters|unsupported option|string expected|filename expected|block device name expected|expected ))/m;

/** True if the output of a human monitor command is an error text. */
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
 * Runs what a user wrote as `monitorcommand=`: as a QMP command if QEMU has one for it, which says for certain how it
 * went, else as a line of the human monitor, which does not.
 * @throws {MonitorClosed} if QEMU has exited before it answered
 */
export async function runMonitorCommand(client: QmpClient, command: string): Promise<CommandResult> {
  const line = command.trim();
  const inQmp = qmpCommandFor(line);
  if (inQmp !== null) {
    try {
      const value = await client.execute(inQmp.name, Object.keys(inQmp.args).length > 0 ? inQmp.args : undefined);
      const empty = typeof value === 'object' && value !== null && Object.keys(value).length === 0;
      return { ok: true, output: empty ? '' : JSON.stringify(value), isGuess: false };
    } catch (error) {
      if (!(error instanceof QmpError)) throw error;
      if (error.errorClass !== 'CommandNotFound') return { ok: false, output: error.desc, isGuess: false };
    }
  }
  try {
    const output = String(await client.execute('human-monitor-command', { 'command-line': line })).trim();
    return { ok: !isHumanError(output), output, isGuess: true };
  } catch (error) {
    if (error instanceof QmpError) return { ok: false, output: error.desc, isGuess: false };
    throw error;
  }
}
