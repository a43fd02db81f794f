import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { resolve } from 'node:path';
import { version } from '../package.json';
import { readCall, serveCall } from './drop-in/call.js';
import { passThrough } from './drop-in/pass-through.js';
import { calledAsQemu } from './qemu/real-qemu.js';
import type { Command, Config } from './options/command.js';
import { parseArgs } from './options/parse.js';
import { status } from './outcome/exit-status.js';
import { plainJson, plainLine, plainText } from './log/plain-text.js';
import { isJournal, openStderr } from './log/stderr.js';
import { defaultHooksDir, ruleBook, runVm } from './vm/run-vm.js';
import { untrap } from './signals/trap.js';
import { isSystemError, refusedBySystem, UsageError } from './system/usage-error.js';

/** How long a slow reader of stderr has for the last line, when nothing else is left to be done. */
const lastLineMs = 300;

/** From one try to write to a full pipe to the next, in milliseconds. */
const slowReaderMs = 10;

/** @throws {UsageError} if it cannot be written whole: a file that is cut off must not be taken for a whole one */
function print(text: string): void {
  // What is JSON escapes the rest itself.
  let rest = Buffer.from(text.startsWith('{') ? plainJson(text) : plainText(text));
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(1, rest));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // A reader that has gone wants to know no more.
      if (code === 'EPIPE') return;
      // It was made non-blocking: it is waited for as if it were not.
      if (code === 'EAGAIN') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, slowReaderMs);
      else throw new UsageError(`stdout cannot be written (${code}): make room, or have it lead elsewhere`);
    }
  }
}

/** Asked of the words themselves, for what is wrong with them may keep them from being read. */
function asksForJson(argv: readonly string[]): boolean {
  return argv.some((word, i) => word === '--log=json' || (word === '--log' && argv[i + 1] === 'json'));
}

/** The one line for a call that is wrong, or cannot be served. */
function formatUsageError({ message }: UsageError, format: Config['log'], priorities: boolean): string {
  const line = plainLine(message, ' ');
  const words =
    format === 'json'
      ? JSON.stringify({ time: new Date().toISOString(), event: 'not-run', level: 'error', message: line, v: 1 })
      : `qemu-trap: ${line}`;
  return `${priorities ? '<3>' : ''}${words}\n`;
}

/** Does what runs no VM as a service. */
async function useTool(command: Exclude<Command, { mode: 'run' | 'attach' }>): Promise<number> {
  // What is half done on a host must not stay so.
  if (command.mode !== 'try' && command.mode !== 'drop-in') untrap();
  if (command.mode === 'version') {
    print(`${version}\n`);
    return 0;
  }
  const tools = await import('./commands/index.js');
  switch (command.mode) {
    case 'help':
      print(tools.usage);
      return 0;
    case 'status': {
      const { text, isAlarming } = tools.report(command, process.env);
      print(text);
      return command.isAlert && isAlarming ? 1 : 0;
    }
    case 'stop':
      return tools.stop(command, process.env, print);
    case 'new-hook':
      print(tools.newHook(command.subject, resolve(command.hooksDir ?? defaultHooksDir)));
      return 0;
    case 'drop-in':
      print(tools.changeDropIn(command.change, command.isForced, process.env));
      return 0;
    case 'check': {
      const { config } = command;
      const { text, faulty } = await tools.check(config, ruleBook(config), process.env);
      print(text);
      return faulty ? status.failed : 0;
    }
    case 'try':
      return tools.tryOut(command.signal, command.config, ruleBook(command.config), print);
  }
}

async function main(argv: readonly string[]): Promise<number> {
  const stderr = openStderr();
  try {
    const command = parseArgs(argv, process.env);
    if (command.mode !== 'run' && command.mode !== 'attach') return await useTool(command);
    const code = await runVm(command, stderr, null);
    // Also if nothing is left to wait for before the last line is written.
    process.exitCode = code;
    return code;
  } catch (error) {
    const refused = asRefusal(error);
    if (refused === null) throw error;
    stderr.write(formatUsageError(refused, asksForJson(argv) ? 'json' : 'text', isJournal(process.env)), 'qemu-trap');
    return refused.status;
  } finally {
    await stderr.drain(lastLineMs);
  }
}

/** What an error is for the user who has called qemu-trap; `null`: a fault of qemu-trap's. */
function asRefusal(error: unknown): UsageError | null {
  if (error instanceof UsageError) return error;
  if (isSystemError(error) && error.syscall === 'uv_cwd')
    return new UsageError('the current directory was removed: change to another (cd), or write full paths');
  return isSystemError(error) ? refusedBySystem(error.message, error, 'QEMU was not started') : null;
}

// A umask that takes the owner's own rights away would keep qemu-trap from its files, and QEMU's monitors from it.
const callersUmask = process.umask();
process.umask(callersUmask & 0o077);

/** qemu-trap under the name of a QEMU: what it cannot serve is QEMU's own affair. */
async function runDropIn(link: string, words: readonly string[]): Promise<number> {
  try {
    const call = readCall(link, words, process.env);
    let code: number | null = null;
    if (call.isOurs) {
      const stderr = openStderr();
      code = await serveCall(call, process.env, stderr);
      await stderr.drain(lastLineMs);
    }
    if (code !== null) return code;
    process.umask(callersUmask);
    return await passThrough(call.qemu, call.words, process.env);
  } catch (error) {
    const refused = asRefusal(error);
    if (refused === null) throw error;
    writeSync(2, formatUsageError(refused, 'text', isJournal(process.env)));
    return refused.status;
  }
}

// Which descriptors qemu-trap itself was activated with (sd_listen_fds(3)); they say nothing to what it starts.
for (const name of Object.keys(process.env)) if (name.startsWith('LISTEN_')) delete process.env[name];

/**
 * Exits with `code`, whatever has become of the terminal: Node sets its modes back as it exits, and up to version 20
 * aborts if it has hung up. By then all that was to be written is written, and all three may lead nowhere.
 */
function exit(code: number): never {
  for (const fd of [0, 1, 2]) {
    try {
      closeSync(fd);
    } catch {
      // It was closed before.
    }
  }
  try {
    for (let fd = 0; fd <= 2; fd++) openSync('/dev/null', 'r+');
  } catch {
    // Closed ones will do as well.
  }
  return process.exit(code);
}

// pgrep(1) and ps(1) find it by this name (comm of proc(5)); the command line stays as it is.
try {
  writeFileSync('/proc/self/comm', 'qemu-trap');
} catch {
  // No /proc: it is called node, then.
}

const [, script = '', ...words] = process.argv;
(calledAsQemu(script) === null ? main(words) : runDropIn(script, words)).then(exit, (error: unknown) => {
  try {
    writeSync(2, `qemu-trap: internal error: ${error instanceof Error ? error.message : String(error)}\n`);
  } catch {
    // It has no reader.
  }
  exit(status.failed);
});
