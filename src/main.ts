import { statSync, writeSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { version } from '../package.json';
import { parseArgs, type Config } from './args.js';
import { check } from './check.js';
import { status } from './exit-status.js';
import { openLiveLine } from './live-line.js';
import { openLog, type Log } from './log.js';
import { newHook } from './new-hook.js';
import { vmName } from './qemu/command-line.js';
import type { RuleBook } from './rules.js';
import { report } from './status/report.js';
import { isJournal, openStderr } from './stderr.js';
import { standIn, supervise } from './supervise.js';
import { reachQemu } from './takeover.js';
import { tryOut } from './try/try.js';
import { usage } from './usage.js';
import { UsageError } from './usage-error.js';

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
    throw new UsageError(`hooks directory ${config.hooksDir}: no such directory: create it, or name another with --hooks`);
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
    writeSync(1, text);
  } catch {
    // stdout is closed: nobody wants to know.
  }
}

async function main(argv: readonly string[]): Promise<number> {
  const stderr = openStderr();
  let log: Log | null = null;
  try {
    const config = parseArgs(argv, process.env);
    if (config.mode === 'help') {
      print(usage);
      return 0;
    }
    if (config.mode === 'version') {
      print(`${version}\n`);
      return 0;
    }
    if (config.mode === 'status') {
      print(report({ names: config.qemu, runDir: config.runDir, stateDir: config.stateDir, format: config.log }, process.env));
      return 0;
    }
    if (config.mode === 'new-hook') {
      print(newHook(config.newHook ?? '', resolve(config.hooksDir ?? defaultHooksDir)));
      return 0;
    }
    const book = ruleBook(config);
    if (config.mode === 'try') return await tryOut(config, book, print);
    if (config.mode === 'check') {
      const report = check(config, book, process.env);
      print(report.text);
      return report.faulty ? status.failed : 0;
    }
    const qemu = config.attach === null ? null : await reachQemu(config.attach);
    const vm = config.name ?? vmName(qemu?.commandLine ?? config.qemu);
    const live = openLiveLine(stderr, config.qemu, process.env);
    log = openLog({ format: config.log, priorities: isJournal(process.env), vm }, (text, author) => (live ?? stderr).write(text, author));
    const service = { config, vm, book, log, followers: live === null ? [] : [live], tap: null };
    return await (qemu === null ? supervise(service) : standIn(service, qemu));
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    log?.flush();
    stderr.write(`${isJournal(process.env) ? '<3>' : ''}qemu-trap: ${error.message.replaceAll(/\s*\n\s*/g, ' ')}\n`, 'qemu-trap');
    return error.status;
  } finally {
    log?.flush();
    await stderr.drain(lastLineMs);
  }
}

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error: unknown) => {
    writeSync(2, `qemu-trap: internal error: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(status.failed);
  },
);
