import { findForSignal, type HookFile } from './hook/find.js';
import { isDirectoryOfSteps, stepsIn } from './hook/steps.js';
import { checkTrust, findDirectoryFault } from './hook/trust.js';
import { shellQuote } from './ownership.js';
import type { Rule, RuleBook } from './rules.js';

/** Something about a hook that an administrator should mend; the guest gets its button all the same. */
export interface HookFault {
  readonly path: string;
  readonly message: string;
  readonly mend: string;
}

type AddFault = (path: string, what: string, mend: string) => void;

function checkSteps(directory: HookFile, add: AddFault): void {
  const fault = findDirectoryFault(directory.path);
  if (fault) add(directory.path, fault.what, fault.mend);
  const { run, passedOver } = stepsIn(directory);
  for (const { path, because } of passedOver) {
    if (because === 'not-executable') add(path, 'it is not executable, and is passed over', `chmod 755 ${shellQuote(path)}`);
    else add(path, 'it is passed over for its name, as run-parts(8) does: letters, digits, - and _ only', `mv ${shellQuote(path)} ${shellQuote(path.replace(/\.[^/]*$/, ''))}`);
  }
  if (run.length === 0) add(directory.path, 'no executable is in it, and it would do nothing', `rmdir ${shellQuote(directory.path)}`);
  for (const step of run) {
    const trust = checkTrust(step.path, step.ours);
    if (!trust.trusted) add(step.path, trust.what, trust.mend);
  }
}

/** Every fault in the hooks that `rules` name, each once. */
export function findFaults(rules: readonly Rule[], book: RuleBook): HookFault[] {
  const faults = new Map<string, HookFault>();
  const add: AddFault = (path, what, mend) => {
    if (!faults.has(path)) faults.set(path, { path, message: `hook ${path}: ${what}; mend it: ${mend}`, mend });
  };
  for (const { signal, script, defaultAction } of rules) {
    const [first, second] = findForSignal(signal, book.dirs);
    if (first && second) add(second.path, `${first.path} is for ${signal} too, and is the one that counts`, `${isDirectoryOfSteps(second) ? 'rm -r' : 'rm'} ${shellQuote(second.path)}`);
    if (script === null) continue;
    const isSteps = isDirectoryOfSteps(script);
    const trust = isSteps ? null : checkTrust(script.path, script.ours);
    if (isSteps) checkSteps(script, add);
    if (trust?.trusted === false) add(script.path, trust.what, trust.mend);
    else if (signal === 'SIGTERM' && defaultAction === 'none') {
      add(script.path, 'SIGTERM with default=none never stops this VM, and service managers end by SIGKILL what does not stop', '--signal SIGTERM,script=powerdown');
    }
  }
  return [...faults.values()];
}
