import { closeSync, openSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { version } from '../package.json';
import type { Command, Config } from './options/command.js';
import { parseArgs } from './options/parse.js';
import { status } from './outcome/exit-status.js';
import { openLiveLine } from './status/live-line.js';
import { openLog, type Log } from './log/log.js';
import { vmName } from './qemu/argv.js';
import { plainJson, plainLine, plainText } from './log/plain-text.js';
import { isJournal, openStderr } from './log/stderr.js';
import { supervise } from './vm/supervise.js';
import { connectToQemu } from './vm/takeover.js';
import { untrap } from './signals/trap.js';
import { isSystemError, refusedBySystem, UsageError } from './system/usage-error.js';
import type { RuleBook } from './rules/rule.js';
import { attach } from './vm/attach.js';

const defaultHooksDir = '/etc/qemu-trap/hooks';
/** How long a slow reader of stderr has for the last line, when nothing else is left to be done. */
const lastLineMs = 300;

function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

function ruleBook(config: Config): RuleBook {
  if (config.hooksDir !== null && !isDirectory(config.hooksDir)) {
    throw new UsageError(
      `hooks directory ${config.hooksDir}: no such directory: create it, or name another with --hooks`,
    );
  }
  const user = config.hooksDir ?? (isDirectory(defaultHooksDir) ? defaultHooksDir : null);
  return {
    specs: config.specs,
    timeoutMs: config.timeoutMs,
    dirs: { user: user === null ? null : resolve(user), bundled: join(__dirname, '..', 'hooks') },
  };
}

function print(text: string): void {
  try {
    // What is JSON escapes the rest itself.
    writeSync(1, text.startsWith('{') ? plainJson(text) : plainText(text));
  } catch {
    // stdout is closed: nobody wants to know.
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
  if (command.mode !== 'try') untrap();
  if (command.mode === 'version') {
    print(`${version}\n`);
    return 0;
  }
  const tools = await import('./commands/index.js');
  switch (command.mode) {
    case 'help':
      print(tools.usage);
      return 0;
    case 'status':
      print(tools.report(command, process.env));
      return 0;
    case 'new-hook':
      print(tools.newHook(command.subject, resolve(command.hooksDir ?? defaultHooksDir)));
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
  let log: Log | null = null;
  try {
    const command = parseArgs(argv, process.env);
    if (command.mode !== 'run' && command.mode !== 'attach') return await useTool(command);
    const { config } = command;
    const book = ruleBook(config);
    const qemu = command.mode === 'run' ? null : await connectToQemu(command.socket);
    const vm = config.name ?? vmName(qemu?.commandLine ?? config.qemu);
    const live = config.log === 'text' ? openLiveLine(stderr, config.qemu, process.env) : null;
    log = openLog({ format: config.log, priorities: isJournal(process.env), vm }, (text, source) =>
      (live ?? stderr).write(text, source),
    );
    const context = {
      config,
      vm,
      book,
      log,
      observers: live === null ? [] : [live],
      tap: null,
      runsHookOf: () => true,
      makesUp: null,
    };
    const code = await (qemu === null ? supervise(context) : attach(context, qemu));
    // Also if nothing is left to wait for before the last line is written.
    process.exitCode = code;
    return code;
  } catch (error) {
    const refused =
      error instanceof UsageError
        ? error
        : isSystemError(error)
          ? refusedBySystem(error.message, error, 'QEMU was not started')
          : null;
    if (refused === null) throw error;
    log?.flush();
    stderr.write(formatUsageError(refused, asksForJson(argv) ? 'json' : 'text', isJournal(process.env)), 'qemu-trap');
    return refused.status;
  } finally {
    log?.flush();
    await stderr.drain(lastLineMs);
  }
}

// A umask that takes the owner's own rights away would keep qemu-trap from its files, and QEMU's monitors from it.
process.umask(process.umask() & 0o077);

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

main(process.argv.slice(2)).then(exit, (error: unknown) => {
  try {
    writeSync(2, `qemu-trap: internal error: ${error instanceof Error ? error.message : String(error)}\n`);
  } catch {
    // Nobody is there to read it.
  }
  exit(status.failed);
});
