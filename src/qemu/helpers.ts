import { type Stats, existsSync, readFileSync, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { isExecutable } from '../system/search-path.js';
import { UsageError } from '../system/usage-error.js';
import { status } from '../outcome/exit-status.js';
import type { Helpers } from './launch-plan.js';
import { isShortage } from '../system/spare-descriptor.js';

type Obstacle = 'not-found' | 'not-executable' | 'directory';
type Located = { readonly path: string } | { readonly path: null; readonly because: Obstacle };

/** Finds a program as a shell does: what is there and cannot be executed is not what is not there. */
function locate(command: string, env: NodeJS.ProcessEnv): Located {
  const candidates = command.includes('/')
    ? [command]
    : (env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin')
        .split(delimiter)
        .map((directory) => join(directory || '.', command));
  let because: Obstacle = 'not-found';
  for (const path of candidates) {
    let stats: Stats;
    try {
      stats = statSync(path);
    } catch (error) {
      // A directory of $PATH that is not for this user has nothing to offer; a path that the user named has.
      if (command.includes('/') && (error as NodeJS.ErrnoException).code === 'EACCES') because = 'not-executable';
      continue;
    }
    because = stats.isDirectory() ? 'directory' : 'not-executable';
    if (stats.isFile() && isExecutable(path)) return { path };
  }
  return { path: null, because };
}

/**
 * Makes sure that there is a QEMU to execute.
 * @throws {UsageError} with exit status 126 or 127
 */
export function requireQemu(command: string, env: NodeJS.ProcessEnv): void {
  const located = locate(command, env);
  if (located.path !== null) return;
  if (located.because === 'not-found')
    throw new UsageError(`${command}: not found: ${notFoundFix(command)}`, status.notFound);
  const fix =
    located.because === 'directory'
      ? 'it is a directory: write the path of a QEMU'
      : 'it must be a program file that is executable (chmod +x)';
  throw new UsageError(`${command}: cannot be executed: ${fix}`, status.notExecutable);
}

/** A user may have left the name of QEMU out. */
function notFoundFix(command: string): string {
  return existsSync(command) || /\.(qcow2|img|raw|iso|vmdk|vdi)$/i.test(command)
    ? `write the name of QEMU before its options: qemu-trap -- qemu-system-x86_64 ${command}`
    : 'install QEMU, or write its full path';
}

/** The path of a program as a shell finds it, or `null`. */
export function findProgram(command: string, env: NodeJS.ProcessEnv): string | null {
  return locate(command, env).path;
}

/** The path of `program`, if it knows `option`; asking it by a run would cost each start a process. */
function withOption(program: string, option: string, env: NodeJS.ProcessEnv): string | null {
  const located = locate(program, env);
  try {
    return located.path !== null && readFileSync(located.path).includes(option) ? located.path : null;
  } catch (error) {
    // A start without it would be a worse one, and for a passing reason.
    if (isShortage(error)) throw error;
    return null;
  }
}

/**
 * The programs that start QEMU as it should be.
 * @throws NodeJS.ErrnoException for want of a descriptor
 */
export function findHelpers(env: NodeJS.ProcessEnv): Helpers {
  return {
    env: withOption('env', 'block-signal', env),
    setpriv: withOption('setpriv', 'pdeathsig', env),
  };
}
