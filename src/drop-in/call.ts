import { writeFileSync } from 'node:fs';
import type { Stderr } from '../log/file-stderr.js';
import type { Command } from '../options/command.js';
import { parseArgs } from '../options/parse.js';
import { takeSignalsOut } from '../options/signal-among-qemus.js';
import { status } from '../outcome/exit-status.js';
import { daemonizes, pidFile, startsNoGuest, vmName } from '../qemu/argv.js';
import { insideVariable } from '../qemu/launch-plan.js';
import { parseSignalSpec } from '../rules/spec.js';
import { ServedAlready } from '../run-dir/lock.js';
import { runVm } from '../vm/run-vm.js';
import { shellWords } from '../system/shell-words.js';
import { UsageError } from '../system/usage-error.js';
import type { State } from '../dispatch/state.js';
import type { Observer } from '../vm/context.js';
import { findRealQemu } from '../qemu/real-qemu.js';

const optionsVariable = 'QEMU_TRAP_OPTIONS';

/** A call of qemu-trap by the name of a QEMU. */
export interface Call {
  /** The path of the real one. */
  readonly qemu: string;
  /** All that was given. */
  readonly given: readonly string[];
  /** QEMU's own of it: without rules of ours. */
  readonly words: readonly string[];
  /** It starts a guest, which is to be served. */
  readonly isOurs: boolean;
}

/**
 * Reads a call by the name of a QEMU.
 * @param link by which qemu-trap was called
 * @throws {UsageError} if there is no real QEMU, or a rule after `-signal` is wrong, which QEMU would refuse, too
 */
export function readCall(link: string, given: readonly string[], env: NodeJS.ProcessEnv): Call {
  const qemu = findRealQemu(link, env);
  if (qemu === null)
    throw new UsageError(
      `${link}: this is qemu-trap, and there is no QEMU of that name in $PATH: install QEMU, or remove the link`,
      status.notFound,
    );
  const taken = takeSignalsOut([qemu, ...given]);
  for (const spec of taken.specs) parseSignalSpec(spec, '-signal');
  const words = taken.qemu.slice(1);
  const isQemus = env[insideVariable] === '1' || daemonizes(words) || startsNoGuest(words);
  return { qemu, given, words, isOurs: !isQemus };
}

/** Who may name a hooks directory to such a process has all of its rights. */
function isPrivileged(): boolean {
  return process.getuid?.() !== process.geteuid?.() || process.getgid?.() !== process.getegid?.();
}

/** Options that say to do something else than to run a VM. */
const otherModes = '--help -h --version -V --check --status --stop --attach --new-hook --try --drop-in'.split(' ');

/** @throws {UsageError} if the options of the environment cannot be used, or QEMU's are not what a VM is run with */
function readCommand({ qemu, given }: Call, env: NodeJS.ProcessEnv): Extract<Command, { mode: 'run' }> {
  const options = shellWords(isPrivileged() ? '' : (env[optionsVariable] ?? ''));
  if (options === null) throw new UsageError(`$${optionsVariable}: a quote is not closed`);
  const other = options.find((word) => otherModes.includes(word.split('=', 1)[0] ?? ''));
  if (other !== undefined) throw new UsageError(`$${optionsVariable}: ${other} runs no VM: leave it out`);
  const command = parseArgs([...options, '--', qemu, ...given], env);
  if (command.mode === 'run' && command.config.qemu[0] === qemu && !options.includes('--')) return command;
  throw new UsageError(`$${optionsVariable}: a word in it is no option: put what has a blank into quotes`);
}

/**
 * Serves a call: with what the environment says, and without it if that cannot be used.
 * @returns the exit status; `null` if it cannot be served
 */
export async function serveCall(call: Call, env: NodeJS.ProcessEnv, stderr: Stderr): Promise<number | null> {
  let warning: string | null = null;
  for (const environment of [env, { ...env, [optionsVariable]: '', QEMU_TRAP_HOOKS: '', QEMU_TRAP_AGENT: '' }]) {
    try {
      return await serve(readCommand(call, environment), stderr, {
        observers: [new PidFile(pidFile(call.words))],
        warning,
      });
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      warning = `${error.message}; the VM runs without $${optionsVariable} and $QEMU_TRAP_HOOKS`;
    }
  }
  return null;
}

/** So many QEMUs of one name are served. */
const mostOfOneName = 100;

/** Two QEMUs of one command line are a user's right: here the second has a name of its own, `NAME-2`. */
async function serve(...[command, stderr, dropIn]: Parameters<typeof runVm>): Promise<number> {
  const { config } = command;
  const first = config.name ?? vmName(config.qemu);
  for (let of = 1; ; of++) {
    const name = of === 1 ? config.name : `${first}-${of}`;
    try {
      return await runVm({ ...command, config: { ...config, name } }, stderr, dropIn);
    } catch (error) {
      if (!(error instanceof ServedAlready) || config.runDir !== null || of === mostOfOneName) throw error;
    }
  }
}

/**
 * A reader of QEMU's pid in its file means to stop the VM, and is to find ours. QEMU has written its own before its
 * monitor answers.
 */
class PidFile implements Observer {
  /** @param path `null`: there is none, or it has been written */
  constructor(private path: string | null) {}

  follow({ monitorUp }: State): void {
    const { path } = this;
    if (!monitorUp || path === null) return;
    this.path = null;
    try {
      writeFileSync(path, `${process.pid}\n`, { flag: 'r+' });
    } catch {
      // QEMU has its own in it, and is shielded.
    }
  }

  close(): void {
    // QEMU removes it.
  }
}
