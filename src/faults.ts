import { findForSignal } from './hook/find.js';
import { checkTrust, shellQuote } from './hook/trust.js';
import type { Rule, RuleBook } from './rules.js';

/** Something about a hook that an administrator should mend; the guest gets its button all the same. */
export interface HookFault {
  readonly path: string;
  readonly message: string;
  readonly mend: string;
}

/** Every fault in the hooks that `rules` name, each once. */
export function findFaults(rules: readonly Rule[], book: RuleBook): HookFault[] {
  const faults = new Map<string, HookFault>();
  const add = (path: string, what: string, mend: string): void => {
    if (!faults.has(path)) faults.set(path, { path, message: `hook ${path}: ${what}; mend it: ${mend}`, mend });
  };
  for (const { signal, script, defaultAction } of rules) {
    const [first, second] = findForSignal(signal, book.dirs);
    if (first && second) add(second.path, `${first.path} is for ${signal} too, and is the one that counts`, `rm ${shellQuote(second.path)}`);
    if (script === null) continue;
    const trust = checkTrust(script.path, script.ours);
    if (!trust.trusted) add(script.path, trust.what, trust.mend);
    else if (signal === 'SIGTERM' && defaultAction === 'none') {
      add(script.path, 'SIGTERM with default=none never stops this VM, and service managers end by SIGKILL what does not stop', '--signal SIGTERM,script=powerdown');
    }
  }
  return [...faults.values()];
}
