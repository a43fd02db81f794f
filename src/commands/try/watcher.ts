import type { State } from '../../dispatch/state.js';
import { type Rule, scriptOf } from '../../rules/rule.js';
import type { SignalName } from '../../signals/names.js';
import type { Observer } from '../../vm/context.js';

/** Tells when what began on `signal` is over, and the VM runs on. */
export class Watcher implements Observer {
  #hasBegun = false;

  constructor(
    private readonly signal: SignalName,
    private readonly over: () => void,
  ) {}

  follow({ shutdown, termination, chains }: State): void {
    const isServed = shutdown?.rule.signal === this.signal || chains.has(this.signal);
    if (isServed) this.#hasBegun = true;
    else if (this.#hasBegun && termination === null) this.over();
  }

  close(): void {
    // There is nothing to undo.
  }
}

export function hookWords(rule: Rule, didItsPart: boolean, outcome: string | null): string {
  if (scriptOf(rule) === null) return '';
  if (didItsPart) return 'The hook did its job. ';
  return outcome === 'failed' ? 'The hook failed. ' : 'The hook did not do its job. ';
}
