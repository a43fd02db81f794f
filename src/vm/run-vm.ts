import { accessSync, constants, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { HeldLines } from './held-lines.js';
import { openLog } from '../log/log.js';
import { isFile, isJournal } from '../log/stderr.js';
import type { Stderr } from '../log/file-stderr.js';
import type { Command, Config } from '../options/command.js';
import { vmName } from '../qemu/argv.js';
import type { RuleBook } from '../rules/rule.js';
import { openLiveLine } from '../status/live-line.js';
import { UsageError } from '../system/usage-error.js';
import { attach } from './attach.js';
import type { Observer } from './context.js';
import { supervise } from './supervise.js';
import { connectToQemu } from './takeover.js';

export const defaultHooksDir = '/etc/qemu-trap/hooks';

/** What is wrong with a hooks directory; `null`: nothing. */
function findHooksDirFault(path: string): { readonly isThere: boolean; readonly what: string } | null {
  try {
    if (!statSync(path).isDirectory()) return { isThere: false, what: 'it is no directory: name another with --hooks' };
    accessSync(path, constants.R_OK | constants.X_OK);
    return null;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === 'EACCES'
      ? { isThere: true, what: 'it cannot be read (EACCES): chmod 755 it, or name another with --hooks' }
      : { isThere: false, what: 'no such directory: create it, or name another with --hooks' };
  }
}

/** @throws {UsageError} if the hooks directory that was named is not there, or cannot be read */
export function ruleBook(config: Config): RuleBook {
  const fault = findHooksDirFault(config.hooksDir ?? defaultHooksDir);
  if (config.hooksDir !== null && fault !== null)
    throw new UsageError(`hooks directory ${config.hooksDir}: ${fault.what}`);
  // The default one may be another user's: that none of its hooks runs is told of, and is no reason not to run a VM.
  const user = config.hooksDir ?? (fault === null || fault.isThere ? defaultHooksDir : null);
  return {
    specs: config.specs,
    timeoutMs: config.timeoutMs,
    dirs: { user: user === null ? null : resolve(user), bundled: join(__dirname, '..', 'hooks') },
  };
}

/** How a drop-in runs a VM. */
interface DropIn {
  readonly observers: readonly Observer[];
  /** Told in the log. */
  readonly warning: string | null;
}

/**
 * Runs a VM as a service.
 * @returns the exit status
 * @throws {UsageError} if it cannot be served; before QEMU was started
 */
export async function runVm(
  command: Extract<Command, { mode: 'run' | 'attach' }>,
  stderr: Stderr,
  dropIn: DropIn | null,
): Promise<number> {
  const { env } = process;
  const { config } = command;
  const book = ruleBook(config);
  const qemu = command.mode === 'run' ? null : await connectToQemu(command.socket);
  const vm = config.name ?? vmName(qemu?.commandLine ?? config.qemu);
  const live = config.log === 'text' ? openLiveLine(stderr, config.qemu, env) : null;
  const out = live ?? stderr;
  const held = dropIn === null ? null : new HeldLines((text, source) => out.write(text, source));
  const log = openLog({ format: config.log, priorities: isJournal(env), stamped: isFile(env), vm }, (text, source) =>
    (held ?? out).write(text, source),
  );
  const context = {
    config,
    vm,
    book,
    log,
    observers: [...(live === null ? [] : [live]), ...(held === null ? [] : [held]), ...(dropIn?.observers ?? [])],
    tap: null,
    runsHookOf: () => true,
    makesUp: null,
    keepsFailedStarts: dropIn === null,
  };
  const warning = dropIn?.warning ?? null;
  if (warning !== null) log({ event: 'options-ignored', level: 'warning', message: warning });
  let isServed = false;
  try {
    const code = await (qemu === null ? supervise(context) : attach(context, qemu));
    isServed = true;
    return code;
  } finally {
    log.flush();
    // What could not be served is another's to tell.
    if (isServed) held?.release();
  }
}
