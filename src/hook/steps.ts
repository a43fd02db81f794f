import { accessSync, constants, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { isDirectory } from '../system/is-there.js';
import type { HookFile } from './find.js';
import { findDirectoryFault } from './trust.js';

/** True for a directory of steps. */
export function isDirectoryOfSteps({ path }: HookFile): boolean {
  return path.endsWith('.d') && isDirectory(path);
}

/** As run-parts(8) has it: a name with a dot or a tilde is what an editor or a package manager has left. */
const stepName = /^[\w-]+$/;

interface Steps {
  /** Why the directory cannot be listed, by the error's name; `null` if it was. */
  readonly unreadable: string | null;
  /** In the order they run in. */
  readonly run: readonly HookFile[];
  /** Files that do not run, though they may have been meant to. */
  readonly passedOver: readonly { readonly path: string; readonly because: 'name' | 'not-executable' }[];
}

/** The executables of a directory of steps, in lexical order, as run-parts(8) would run them. */
export function stepsIn({ path: directory, ours }: HookFile): Steps {
  const run: HookFile[] = [];
  const passedOver: Steps['passedOver'][number][] = [];
  let names: string[];
  try {
    names = readdirSync(directory).sort();
  } catch (error) {
    return { run, passedOver, unreadable: (error as NodeJS.ErrnoException).code ?? String(error) };
  }
  for (const name of names) {
    const path = join(directory, name);
    try {
      if (statSync(path).isDirectory()) continue;
    } catch {
      // A link that leads nowhere is a step that fails, and not one that was not asked for.
    }
    const executable = isExecutable(path);
    if (stepName.test(name) && executable !== false) run.push({ path, ours });
    else if (stepName.test(name)) passedOver.push({ path, because: 'not-executable' });
    else if (executable && !name.startsWith('.')) passedOver.push({ path, because: 'name' });
  }
  return { run, passedOver, unreadable: null };
}

/** `null` if there is no file to ask. */
function isExecutable(path: string): boolean | null {
  try {
    statSync(path);
  } catch {
    return null;
  }
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * What runs for `hook`, one after the other: itself, or the steps of a directory.
 * @returns why none of them may run, if that is so
 */
export function stepsOf(hook: HookFile): { readonly files: readonly HookFile[] } | { readonly fault: string } {
  if (!isDirectoryOfSteps(hook)) return { files: [hook] };
  const fault = findDirectoryFault(hook.path);
  if (fault) return { fault: `cannot be run: ${fault.what} (fix: ${fault.fix})` };
  const { run: files, unreadable } = stepsIn(hook);
  if (unreadable !== null) return { fault: `cannot be read (${unreadable})` };
  return files.length > 0 ? { files } : { fault: 'contains no executable' };
}
