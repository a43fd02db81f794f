import { accessSync, constants, existsSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { hookPath } from '../hook/environment.js';
import { knownEvents } from '../hook/event-names.js';
import {
  lifecycleHooks,
  findEventHooks,
  findLifecycleHook,
  findForSignal,
  libDir,
  type HookFile,
} from '../hook/find.js';
import { findInterpreterFault } from '../hook/interpreter.js';
import { isDirectoryOfSteps, stepsIn } from '../hook/steps.js';
import { checkTrust, findDirectoryFault } from '../hook/trust.js';
import { shellQuote } from '../system/permissions.js';
import { findNameFault } from './hook-name-fault.js';
import { type Rule, type RuleBook, scriptOf } from './rule.js';

/** Something about a hook that an administrator should fix; the guest gets its button all the same. */
interface HookFault {
  readonly path: string;
  /** If `false`, it may be as it is meant. */
  readonly isFault: boolean;
  readonly message: string;
  readonly fix: string;
}

type AddFault = (path: string, what: string, fix: string, isFault?: boolean) => void;

function checkFile({ path, ours }: HookFile, searchPath: string, add: AddFault): boolean {
  const trust = checkTrust(path, ours);
  const fault = trust.trusted ? findInterpreterFault(path, searchPath) : trust;
  if (fault !== null) add(path, fault.what, fault.fix);
  return fault === null;
}

function canBeExecuted(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** What lies in the hooks directory under a name that looks like a hook's, and is run by nothing. */
function checkNames(
  directory: string,
  isAsked: (path: string) => boolean,
  events: readonly string[] | null,
  add: AddFault,
): void {
  let names: string[];
  try {
    names = readdirSync(directory).sort();
  } catch {
    return;
  }
  for (const name of names) {
    const path = join(directory, name);
    const fault = isAsked(path) ? null : findNameFault(name, events, () => canBeExecuted(path));
    if (fault === null) continue;
    const { what, better, isFault } = fault;
    const isFree = better !== null && !names.includes(better);
    const to = isFree ? join(directory, better) : `${path}.old`;
    add(path, what, `mv ${shellQuote(path)} ${shellQuote(to)}`, isFault);
  }
}

function checkSteps(directory: HookFile, searchPath: string, add: AddFault): void {
  const fault = findDirectoryFault(directory.path);
  if (fault) add(directory.path, fault.what, fault.fix);
  const { run, passedOver, unreadable } = stepsIn(directory);
  if (unreadable !== null)
    add(directory.path, `it cannot be read (${unreadable})`, `chmod 755 ${shellQuote(directory.path)}`);
  for (const { path, because } of passedOver) {
    if (because === 'not-executable')
      add(path, 'it is not executable, so it is skipped', `chmod 755 ${shellQuote(path)}`);
    else
      add(
        path,
        'it is skipped because of its name: use letters, digits, - and _ only, as for run-parts(8)',
        `mv ${shellQuote(path)} ${shellQuote(path.replace(/\.[^/]*$/, ''))}`,
      );
  }
  if (unreadable === null && run.length === 0)
    add(directory.path, 'there is no executable in it, so it would do nothing', `rmdir ${shellQuote(directory.path)}`);
  for (const step of run) checkFile(step, searchPath, add);
}

/** @returns false where it cannot run at all */
function checkHook(script: HookFile, searchPath: string, add: AddFault): boolean {
  if (!isDirectoryOfSteps(script)) return checkFile(script, searchPath, add);
  checkSteps(script, searchPath, add);
  return true;
}

/**
 * Every fault in the hooks that `rules` name, and in the names in the hooks directory, each file once.
 * @param env qemu-trap's own
 * @param asked the names of the events of the user's QEMU; `null`: it was not asked
 */
export function findFaults(
  rules: readonly Rule[],
  book: RuleBook,
  env: NodeJS.ProcessEnv,
  asked: readonly string[] | null,
): HookFault[] {
  const events = asked ?? knownEvents;
  const searchPath = hookPath(libDir(book.dirs), env);
  const faults = new Map<string, HookFault>();
  const add: AddFault = (path, what, fix, isFault = true) => {
    if (!faults.has(path)) faults.set(path, { path, isFault, message: `hook ${path}: ${what}; fix: ${fix}`, fix });
  };
  const checkOnlyOne = (what: string, [first, second]: readonly HookFile[]): void => {
    if (first && second)
      add(
        second.path,
        `it never runs, because ${first.path} is for ${what} too and comes first`,
        `${isDirectoryOfSteps(second) ? 'rm -r' : 'rm'} ${shellQuote(second.path)}`,
      );
  };
  for (const which of lifecycleHooks) {
    const found = findLifecycleHook(which, book.dirs);
    checkOnlyOne(which, found);
    if (found[0]) checkHook(found[0], searchPath, add);
  }
  for (const { name, found } of findEventHooks(events, book.dirs)) {
    checkOnlyOne(name, found);
    if (found[0]) checkHook(found[0], searchPath, add);
  }
  for (const rule of rules) {
    const { signal, defaultAction } = rule;
    const script = scriptOf(rule);
    checkOnlyOne(signal, findForSignal(signal, book.dirs));
    if (script !== null && checkHook(script, searchPath, add) && signal === 'SIGTERM' && defaultAction === 'none') {
      add(
        script.path,
        'SIGTERM with default=none never forces a guest that stays, so service managers kill the VM (SIGKILL)',
        '--signal SIGTERM,script=powerdown',
      );
    }
  }
  const { user, bundled } = book.dirs;
  const scripts = new Set(rules.map((rule) => scriptOf(rule)?.path));
  // Under the name of a bundled hook it is in that one's place, for a rule that names it.
  const isAsked = (path: string): boolean => scripts.has(path) || existsSync(join(bundled, basename(path)));
  if (user !== null) checkNames(user, isAsked, asked, add);
  return [...faults.values()];
}
