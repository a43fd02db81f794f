import { accessSync, constants, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { hookPath } from '../hook/environment.js';
import { isEventName, knownEvents } from '../hook/event-names.js';
import {
  lifecycleHooks,
  findEventHooks,
  findLifecycleHook,
  findForSignal,
  libDir,
  type HookFile,
} from '../hook/find.js';
import { nearest } from '../system/near-miss.js';
import { findInterpreterFault } from '../hook/interpreter.js';
import { isDirectoryOfSteps, stepsIn } from '../hook/steps.js';
import { checkTrust, findDirectoryFault } from '../hook/trust.js';
import { shellQuote } from '../system/permissions.js';
import { hookNames, parseSignal } from '../signals/names.js';
import { type Rule, type RuleBook, scriptOf } from './rule.js';

/** Something about a hook that an administrator should fix; the guest gets its button all the same. */
interface HookFault {
  readonly path: string;
  readonly message: string;
  readonly fix: string;
}

type AddFault = (path: string, what: string, fix: string) => void;

function checkFile({ path, ours }: HookFile, searchPath: string, add: AddFault): boolean {
  const trust = checkTrust(path, ours);
  const fault = trust.trusted ? findInterpreterFault(path, searchPath) : trust;
  if (fault !== null) add(path, fault.what, fault.fix);
  return fault === null;
}

/** Names under which other programs look for scripts of the same kind, and what qemu-trap calls those. */
const lookalikes: Readonly<Record<string, string>> = {
  stop: 'SIGTERM',
  shutdown: 'SIGTERM',
  'pre-stop': 'SIGTERM',
  prestop: 'SIGTERM',
  'pre-start': 'start',
  prestart: 'start',
  'post-stop': 'end',
  poststop: 'end',
  stopped: 'end',
  'post-start': 'ready',
  poststart: 'ready',
  started: 'ready',
};

/** Something in capitals that begins with SIG is meant for a signal; what is read as one in any case is, too. */
function nameFault(
  name: string,
  events: readonly string[],
  isExecutable: () => boolean,
): { readonly what: string; readonly better: string | null } | null {
  const noSuch = (better: string): ReturnType<typeof nameFault> => ({
    what: `qemu-trap runs no hook of that name; ${better} is probably meant`,
    better,
  });
  const lookalike = Object.hasOwn(lookalikes, name) ? lookalikes[name] : undefined;
  if (lookalike !== undefined) return noSuch(lookalike);
  const [, stem = '', suffix = ''] = /^([A-Za-z0-9_]+)(\.(?:d|sh|bash|py|pl|rb|js|mjs|lua|php))?$/.exec(name) ?? [];
  const isMeant = (lifecycleHooks as readonly string[]).includes(stem) || events.includes(stem);
  if (isMeant) return suffix === '' || suffix === '.d' ? null : noSuch(stem);
  const parsed = parseSignal(stem);
  if ('signal' in parsed) {
    if (['', '.d'].includes(suffix) && hookNames(parsed.signal).includes(stem)) return null;
    return {
      what: `no signal runs it; ${parsed.signal} is probably meant`,
      better: `${parsed.signal}${suffix === '.d' ? '.d' : ''}`,
    };
  }
  if (/^SIG[A-Z0-9]+$/.test(stem)) return { what: `no signal runs it: ${parsed.error}`, better: null };
  return eventFault(stem, suffix, events, isExecutable);
}

/** A name in capitals, or with an underscore, is meant for an event; what is not executable may be a README. */
function eventFault(
  stem: string,
  suffix: string,
  events: readonly string[],
  isExecutable: () => boolean,
): ReturnType<typeof nameFault> {
  const isLikeOne = isEventName(stem) || (stem.includes('_') && isEventName(stem.toUpperCase()));
  if (!isLikeOne || !isExecutable()) return null;
  const meant = nearest(stem.toUpperCase(), events);
  return {
    what: `QEMU has no event of that name${meant === null ? '' : `; ${meant} is probably meant`}`,
    better: meant === null ? null : `${meant}${suffix === '.d' ? '.d' : ''}`,
  };
}

function canBeExecuted(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** What lies in the hooks directory under a name that looks like a signal's, and is looked for by no signal. */
function checkNames(
  directory: string,
  asked: ReadonlySet<string | undefined>,
  events: readonly string[],
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
    const fault = asked.has(path) ? null : nameFault(name, events, () => canBeExecuted(path));
    if (fault === null) continue;
    const isFree = fault.better !== null && !names.includes(fault.better);
    add(
      path,
      fault.what,
      `mv ${shellQuote(path)} ${shellQuote(isFree ? join(directory, fault.better as string) : `${path}.old`)}`,
    );
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
 * @param events QEMU's, where it was asked
 */
export function findFaults(
  rules: readonly Rule[],
  book: RuleBook,
  env: NodeJS.ProcessEnv,
  events: readonly string[] = knownEvents,
): HookFault[] {
  const searchPath = hookPath(libDir(book.dirs), env);
  const faults = new Map<string, HookFault>();
  const add: AddFault = (path, what, fix) => {
    if (!faults.has(path)) faults.set(path, { path, message: `hook ${path}: ${what}; fix: ${fix}`, fix });
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
  if (book.dirs.user !== null)
    checkNames(book.dirs.user, new Set(rules.map((rule) => scriptOf(rule)?.path)), events, add);
  return [...faults.values()];
}
