import { accessSync, constants, existsSync, readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
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
import { isThere } from '../system/is-there.js';
import { shellQuote } from '../system/permissions.js';
import { findNameFault, isForReading, isRunByName } from './hook-name-fault.js';
import { type Rule, type RuleBook, scriptOf } from './rule.js';

/** Something about a hook that an administrator should fix; the guest gets its button all the same. */
interface HookFault {
  readonly path: string;
  /** If `false`, it may be as it is meant. */
  readonly isFault: boolean;
  readonly message: string;
  readonly fix: string;
}

const numbered = (stem: string): string[] => Array.from({ length: 98 }, (_, i) => `${stem}${i + 2}`);

/** Takes faults, each file's first one. */
class Faults {
  readonly #found = new Map<string, HookFault>();
  /** What has been proposed as a new name: two files must not become one. */
  readonly #taken = new Set<string>();

  get all(): HookFault[] {
    return [...this.#found.values()];
  }

  add(path: string, what: string, fix: string, isFault = true, kind = 'hook'): void {
    if (!this.#found.has(path))
      this.#found.set(path, { path, isFault, message: `${kind} ${path}: ${what}; fix: ${fix}`, fix });
  }

  /** @returns the command that gives `path` the name `better`, or, if that is taken or not known, one out of the way */
  rename(path: string, better: string | null): string {
    const wanted = better === null ? [] : [join(dirname(path), better)];
    return this.#rename(path, [...wanted, `${path}.old`, ...numbered(`${path}.old.`)]);
  }

  /** @returns the command that gives a step a name that run-parts(8) takes */
  renameStep(path: string): string {
    const stem = basename(path).replace(/\.[^.]*$/, '');
    const name = stem.replace(/[^A-Za-z0-9_-]+/g, '-').replace(/^-+|-+$/g, '') || 'step';
    const wanted = join(dirname(path), name);
    return this.#rename(path, [wanted, ...numbered(`${wanted}-`)]);
  }

  #rename(path: string, names: readonly string[]): string {
    const to = names.find((name) => !isThere(name) && !this.#taken.has(name)) ?? `${path}.old`;
    this.#taken.add(to);
    return `mv ${shellQuote(path)} ${shellQuote(to)}`;
  }
}

function checkFile({ path, ours }: HookFile, searchPath: string, faults: Faults): boolean {
  const trust = checkTrust(path, ours);
  const fault = trust.trusted ? findInterpreterFault(path, searchPath) : trust;
  if (fault !== null) faults.add(path, fault.what, fault.fix);
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

/** What lies in the hooks directory and is run by nothing. */
function checkNames(
  directory: string,
  isAsked: (path: string) => boolean,
  events: readonly string[] | null,
  faults: Faults,
): void {
  let names: string[];
  try {
    names = readdirSync(directory).sort();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const what = `it cannot be read (${code}), so that no hook in it runs`;
    return faults.add(directory, what, `chmod 755 ${shellQuote(directory)}`, true, 'hooks directory');
  }
  const others: string[] = [];
  for (const name of names) {
    const path = join(directory, name);
    if (isAsked(path) || isRunByName(name, events) || isForReading(name)) continue;
    const fault = findNameFault(name, events, () => canBeExecuted(path));
    if (fault === null) others.push(name);
    else faults.add(path, fault.what, faults.rename(path, fault.better), fault.isFault);
  }
  if (others.length > 0)
    faults.add(
      directory,
      `no signal or event runs these files by their names: ${others.join(', ')}`,
      'none is needed if scripts of yours use them; subdirectories are not searched',
      false,
      'hooks directory',
    );
}

function checkSteps(directory: HookFile, searchPath: string, faults: Faults): void {
  const fault = findDirectoryFault(directory.path);
  if (fault) faults.add(directory.path, fault.what, fault.fix);
  const { run, passedOver, unreadable } = stepsIn(directory);
  if (unreadable !== null)
    faults.add(directory.path, `it cannot be read (${unreadable})`, `chmod 755 ${shellQuote(directory.path)}`);
  for (const { path, because } of passedOver) {
    if (because === 'not-executable')
      faults.add(path, 'it is not executable, so it is skipped', `chmod 755 ${shellQuote(path)}`);
    else
      faults.add(
        path,
        'it is skipped because of its name: use letters, digits, - and _ only, as for run-parts(8)',
        faults.renameStep(path),
      );
  }
  if (unreadable === null && run.length === 0 && passedOver.length === 0)
    faults.add(
      directory.path,
      'there is no executable in it, so it would do nothing',
      `rmdir ${shellQuote(directory.path)}`,
    );
  for (const step of run) checkFile(step, searchPath, faults);
}

/** @returns false if it cannot run at all */
function checkHook(script: HookFile, searchPath: string, faults: Faults): boolean {
  if (!isDirectoryOfSteps(script)) return checkFile(script, searchPath, faults);
  checkSteps(script, searchPath, faults);
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
  const faults = new Faults();
  const checkOnlyOne = (what: string, [first, second]: readonly HookFile[]): void => {
    if (first && second)
      faults.add(
        second.path,
        `it never runs, because ${first.path} is for ${what} too and comes first`,
        faults.rename(second.path, null),
      );
  };
  for (const which of lifecycleHooks) {
    const found = findLifecycleHook(which, book.dirs);
    checkOnlyOne(which, found);
    if (found[0]) checkHook(found[0], searchPath, faults);
  }
  for (const { name, found } of findEventHooks(events, book.dirs)) {
    checkOnlyOne(name, found);
    if (found[0]) checkHook(found[0], searchPath, faults);
  }
  for (const rule of rules) {
    const { signal, defaultAction } = rule;
    const script = scriptOf(rule);
    checkOnlyOne(signal, findForSignal(signal, book.dirs));
    if (script !== null && checkHook(script, searchPath, faults) && signal === 'SIGTERM' && defaultAction === 'none') {
      faults.add(
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
  if (user !== null) checkNames(user, isAsked, asked, faults);
  return faults.all;
}
