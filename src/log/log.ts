import { StringDecoder } from 'node:string_decoder';
import { plainJson, plainLine, plainText } from './plain-text.js';
import type { LogSource } from './file-stderr.js';

/** One log line: an event with a stable name, its facts, and the words for people. */
export interface LogEvent {
  readonly event: string;
  readonly level: 'info' | 'warning' | 'error';
  readonly message: string;
  readonly facts?: Readonly<Record<string, string | number | boolean | null>>;
}

export interface Log {
  /** What is worded by a function is worded when it is written. */
  (event: LogEvent | (() => LogEvent)): void;
  /** Some of what a hook wrote; nothing: it has written its last. */
  hookOutput(hook: string, chunk: Buffer): void;
  /** Writes what has been told so far. */
  flush(): void;
}

const lineFeed = 0x0a;
/** More than this of one line of a hook is written as it is. */
const longestLine = 64 * 1024;

/** Priorities of syslog(3) in the form of sd-daemon(3), which journald takes off the line. */
const journalPrefix = { info: '<6>', warning: '<4>', error: '<3>' } as const;

interface LogForm {
  readonly format: 'text' | 'json';
  /** Each line says its priority, for journald. */
  readonly priorities: boolean;
  /** Each line says when, for a file whose lines get no time otherwise. */
  readonly stamped: boolean;
  /** The name that each line has. */
  readonly vm: string;
}

/** A log that writes its lines to `write`. */
export function openLog(
  { format, priorities, stamped, vm }: LogForm,
  write: (line: string | Buffer, source: LogSource) => void,
): Log {
  let midLine = false;
  let told: (() => void)[] = [];
  let timer: NodeJS.Immediate | null = null;
  const flush = (): void => {
    if (timer !== null) clearImmediate(timer);
    timer = null;
    const words = told;
    told = [];
    for (const each of words) each();
  };
  const later = (words: () => void): void => {
    told.push(words);
    timer ??= setImmediate(flush);
  };
  const name = plainLine(vm, '_');
  const say = ({ event, level, message, facts }: LogEvent, time: Date, source: LogSource): void => {
    const line = plainLine(message, ' | ');
    const priority = priorities ? journalPrefix[level] : '';
    if (format === 'json') {
      write(
        `${priority}${plainJson(JSON.stringify({ time: time.toISOString(), event, level, vm, ...facts, message: line, v: 1 }))}\n`,
        source,
      );
    } else {
      // What a hook wrote last may not have ended its line.
      write(
        `${midLine ? '\n' : ''}${priority}${stamped ? `${time.toISOString()} ` : ''}qemu-trap: ${name}: ${level === 'info' ? '' : `${level}: `}${line}\n`,
        source,
      );
      midLine = false;
    }
  };
  /** What a hook wrote last and has not ended with a line feed, by its path. */
  const unended = new Map<string, Buffer>();
  const decoders = new Map<string, StringDecoder>();
  const sayLine = (hook: string, line: Buffer, time: Date): void => {
    const text = line.toString('utf8');
    if (text !== '') say({ event: 'hook-output', level: 'info', message: text, facts: { hook } }, time, 'hook');
  };
  const sayRest = (hook: string, time: Date): void => {
    const rest = unended.get(hook);
    unended.delete(hook);
    if (rest !== undefined) sayLine(hook, rest, time);
  };
  const sayOutput = (hook: string, chunk: Buffer, time: Date): void => {
    if (format === 'text') {
      // A chunk ends anywhere, in the middle of a character, too.
      const decoder = decoders.get(hook) ?? new StringDecoder('utf8');
      decoders.set(hook, decoder);
      const text = plainText(chunk.length === 0 ? decoder.end() : decoder.write(chunk));
      if (chunk.length === 0) decoders.delete(hook);
      if (text === '') return;
      midLine = !text.endsWith('\n');
      return write(text, 'hook');
    }
    if (chunk.length === 0) return sayRest(hook, time);
    // A chunk ends anywhere: in the middle of a line, or of a character of UTF-8.
    let rest = Buffer.concat([unended.get(hook) ?? Buffer.alloc(0), chunk]);
    for (let end = rest.indexOf(lineFeed); end !== -1; end = rest.indexOf(lineFeed)) {
      sayLine(hook, rest.subarray(0, end), time);
      rest = rest.subarray(end + 1);
    }
    unended.set(hook, rest);
    if (rest.length === 0 || rest.length > longestLine) sayRest(hook, time);
  };
  const log = (event: LogEvent | (() => LogEvent)): void => {
    const time = new Date();
    later(() => say(typeof event === 'function' ? event() : event, time, 'qemu-trap'));
  };
  return Object.assign(log, {
    hookOutput: (hook: string, chunk: Buffer): void => {
      const time = new Date();
      later(() => sayOutput(hook, chunk, time));
    },
    flush,
  });
}
