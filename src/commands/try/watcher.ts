import type { State } from '../../dispatch/state.js';
import type { Rule } from '../../rules/rule.js';
import type { SignalName } from '../../signals/names.js';
import type { Observer } from '../../vm/context.js';

/** Tells when what began on `signal` is over, and the VM runs on. */
export class Watcher implements Observer {
  #hasBegun = false;

  constructor(
    private readonly signal: SignalName,
    private readonly over: () => void,
  ) {}

  follow({ stop, end, runs }: State): void {
    const isServed = stop?.rule.signal === this.signal || runs.has(this.signal);
    if (isServed) this.#hasBegun = true;
    else if (this.#hasBegun && end === null) this.over();
  }

  close(): void {
    // There is nothing to undo.
  }
}

export function hookWords({ script }: Rule, didItsPart: boolean, end: string | null): string {
  if (script === null) return '';
  if (didItsPart) return 'The hook did its job. ';
  return end === 'failed' ? 'The hook failed. ' : 'The hook did not do its job. ';
}
