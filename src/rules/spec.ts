import { readOpts } from '../qemu/option-syntax.js';
import { parseTime } from '../system/duration.js';
import { type SignalName, parseSignal } from '../signals/names.js';
import { nearest } from '../system/near-miss.js';
import { UsageError } from '../system/usage-error.js';
import type { DefaultAction } from './builtin.js';

/** A `--signal` rule as the user wrote it; what is not named is `undefined`. */
export interface SignalSpec {
  readonly signal: SignalName;
  /** `null`: no hook, whatever the hooks directory has. */
  readonly script: string | null | undefined;
  /** `null`: `monitorcommand=none`. */
  readonly monitorCommand: string | null | undefined;
  readonly timeoutMs: number | undefined;
  readonly defaultAction: DefaultAction | undefined;
}

const keys = ['script', 'monitorcommand', 'timeout', 'default'] as const;
type Key = (typeof keys)[number];

function isKey(text: string): text is Key {
  return (keys as readonly string[]).includes(text);
}

/**
 * Reads `SIGNAL[,script=NAME|PATH][,monitorcommand=COMMAND][,timeout=TIME|infinity][,default=quit|kill|none]`.
 * @param option how the user has written it
 * @throws {UsageError} one line that names what is wrong, and what would be right
 */
export function parseSignalSpec(text: string, option = '--signal'): SignalSpec {
  const wrong = (what: string): UsageError => new UsageError(`${option} ${text}: ${what}`);
  const [first, ...pairs] = readOpts(text);
  const name = first?.key === null ? first.value : '';
  if (!name) throw wrong('no signal: begin with one, such as SIGTERM,script=powerdown');
  const parsed = parseSignal(name);
  if ('error' in parsed) throw wrong(parsed.error);

  const values = new Map<Key, string>();
  for (const { key: word, value } of pairs) {
    // Only the first word may have none.
    const key = word ?? '';
    if (!isKey(key)) {
      const meant = nearest(key, keys);
      if (meant !== null) throw wrong(`unknown key '${key}': write ${meant}=VALUE`);
      throw wrong(`unknown key '${key}': the keys are ${keys.join(', ')} (a comma within a value is written ,,)`);
    }
    if (value === undefined || value === '') throw wrong(`${key} has no value: write ${key}=VALUE`);
    if (values.has(key)) throw wrong(`${key} is given twice: write it once`);
    values.set(key, value);
  }

  const command = values.get('monitorcommand');
  const timeout = values.get('timeout');
  const action = values.get('default');
  if (action !== undefined && action !== 'quit' && action !== 'kill' && action !== 'none') {
    const meant = nearest(action, ['quit', 'kill', 'none']);
    throw wrong(
      `default=${action}: write ${meant === null ? 'default=quit, default=kill or default=none' : `default=${meant}`}`,
    );
  }
  return {
    signal: parsed.signal,
    script: values.get('script'),
    monitorCommand: command === 'none' ? null : command,
    timeoutMs: timeout === undefined ? undefined : parseTime(timeout, `${option} ${text}`, null),
    defaultAction: action,
  };
}
