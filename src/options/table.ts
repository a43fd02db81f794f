/*
 * The options of the command line, by their names: what args.ts reads, and what shells complete.
 */

/** What stands after an option, for completion. */
export type ValueKind = 'directory' | 'file' | 'signal' | 'hook name' | 'rule' | 'free' | readonly string[];

export interface Option {
  readonly name: string;
  /** `null` where none stands after it. */
  readonly value: ValueKind | null;
}

export const options: readonly Option[] = [
  { name: 'hooks', value: 'directory' },
  { name: 'signal', value: 'rule' },
  { name: 'timeout', value: 'free' },
  { name: 'kill-after', value: 'free' },
  { name: 'name', value: 'free' },
  { name: 'run-dir', value: 'directory' },
  { name: 'ready-fd', value: 'free' },
  { name: 'log', value: ['text', 'json'] },
  { name: 'press', value: ['10', '0.5,10', 'once'] },
  { name: 'on-death', value: ['kill', 'keep'] },
  { name: 'agent', value: 'file' },
  { name: 'state-dir', value: 'directory' },
  { name: 'no-shield', value: null },
  { name: 'attach', value: 'file' },
  { name: 'check', value: null },
  { name: 'status', value: null },
  { name: 'new-hook', value: 'hook name' },
  { name: 'try', value: 'signal' },
  { name: 'version', value: null },
  { name: 'help', value: null },
];
