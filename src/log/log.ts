import { StringDecoder } from 'node:string_decoder';
import type { Telling } from '../dispatch/step.js';
import { endCauses } from '../outcome/end-cause.js';
import { plainJson, plainText } from './plain-text.js';
import { shownCommand } from '../qmp/monitor-command.js';
import { wordSeconds } from '../system/duration.js';
import type { Author } from './stderr.js';

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

/** What is told may wait this long, in milliseconds: the processor belongs to what was done first, a hook, say, or QEMU. */
const afterMs = 3;

const lineFeed = 0x0a;
/** More than this of one line of a hook is written as it is. */
const longestLine = 64 * 1024;

/** Priorities of syslog(3) in the form of sd-daemon(3), which journald takes off the line. */
const journalPrefix = { info: '<6>', warning: '<4>', error: '<3>' } as const;

export interface LogForm {
  readonly format: 'text' | 'json';
  /** Each line says its priority, for journald. */
  readonly priorities: boolean;
  /** The name that each line has. */
  readonly vm: string;
}

/** A log that writes its lines to `write`. */
export function openLog(
  { format, priorities, vm }: LogForm,
  write: (line: string | Buffer, author: Author) => void,
): Log {
  let midLine = false;
  let told: (() => void)[] = [];
  let timer: NodeJS.Timeout | null = null;
  const flush = (): void => {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    const words = told;
    told = [];
    for (const each of words) each();
  };
  const later = (words: () => void): void => {
    told.push(words);
    timer ??= setTimeout(flush, afterMs);
  };
  const name = plainText(vm).replaceAll('\n', '_');
  const say = ({ event, level, message, facts }: LogEvent, time: Date, author: Author): void => {
    const line = plainText(message).replaceAll(/\s*\n\s*/g, ' | ');
    const priority = priorities ? journalPrefix[level] : '';
    if (format === 'json') {
      write(
        `${priority}${plainJson(JSON.stringify({ time: time.toISOString(), event, level, vm, ...facts, message: line, v: 1 }))}\n`,
        author,
      );
    } else {
      // What a hook wrote last may not have ended its line.
      write(
        `${midLine ? '\n' : ''}${priority}qemu-trap: ${name}: ${level === 'info' ? '' : `${level}: `}${line}\n`,
        author,
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

const nextLinkReasons = {
  'hook-failed': 'its hook did not do its part',
  'hook-timeout': "its hook's time is up",
  'command-failed': 'its monitor command failed',
  'command-done': 'its monitor command is done, and the guest is still there',
  reserve: 'the hook has ended, and the guest is still there',
  'guest-reset': 'the guest has reset instead of powering off',
} as const;

/** The words for what the core tells. */
export function wordTelling(telling: Telling): LogEvent {
  const { event } = telling;
  switch (event) {
    case 'shutdown':
      return {
        event,
        level: 'info',
        facts: { signal: telling.signal, timeout_ms: telling.timeoutMs },
        message: `${telling.signal}: shutting down, at most ${wordSeconds(telling.timeoutMs)} until the default action${telling.waitsForMonitor ? '; waiting for QEMU to start' : ''}`,
      };
    case 'stands':
      return {
        event,
        level: 'info',
        facts: { signal: telling.signal, first: telling.first },
        message: `${telling.signal}: a shutdown on ${telling.first} is under way, and stands`,
      };
    case 'refused':
      return {
        event,
        level: 'warning',
        facts: { signal: telling.signal, first: telling.first },
        message: `${telling.signal}: refused while the shutdown on ${telling.first} is under way`,
      };
    case 'ignored':
      return {
        event,
        level: 'info',
        facts: { signal: telling.signal, times: telling.times },
        message: `${telling.signal}: ignored${telling.times > 1 ? ` ${telling.times} times more` : ''}, no rule says what to do`,
      };
    case 'coalesced':
      return {
        event,
        level: 'info',
        facts: { signal: telling.signal, times: telling.times },
        message: `${telling.signal} came ${telling.times} times more meanwhile: one run stood for all`,
      };
    case 'again-to-force':
      return {
        event,
        level: 'info',
        message: 'waiting for the guest; Ctrl-C again after a second, or Ctrl-\\ at once, cuts it off',
      };
    case 'lost-time':
      return {
        event,
        level: 'warning',
        facts: { signal: telling.signal, ms: Math.round(telling.ms) },
        message: `${telling.signal}: qemu-trap stood still for ${wordSeconds(telling.ms)}: the deadline moves by that`,
      };
    case 'dropped':
      return {
        event,
        level: 'info',
        facts: { signal: telling.signal },
        message: `${telling.signal}: not now, says its hook (status 75): dropped, the guest runs on`,
      };
    case 'next-link':
      return {
        event,
        level: 'warning',
        facts: { signal: telling.signal, command: shownCommand(telling.command), because: telling.because },
        message: `${telling.signal}: ${nextLinkReasons[telling.because]}: ${shownCommand(telling.command)} instead`,
      };
    case 'failed':
      return {
        event,
        level: 'warning',
        facts: { signal: telling.signal },
        message: `${telling.signal}: failed, with nothing left to try; the guest runs on`,
      };
    case 'command-timeout':
      return {
        event,
        level: 'warning',
        facts: { signal: telling.signal },
        message: `${telling.signal}: QEMU has not answered in time; the guest runs on`,
      };
    case 'default-action':
      return {
        event,
        level: endCauses[telling.cause].forced ? 'warning' : 'info',
        facts: { signal: telling.signal, action: telling.action, cause: telling.cause },
        message: `${telling.signal}: ${endCauses[telling.cause].words}: ${telling.action === 'quit' ? 'telling QEMU to quit' : 'ending QEMU with SIGKILL'}`,
      };
    case 'kill':
      return { event, level: 'warning', message: 'QEMU has not gone in time: ending it with SIGKILL' };
    case 'exit-hangs':
      return {
        event,
        level: 'warning',
        facts: { after_ms: telling.afterMs },
        message: `QEMU said that it exits, and has not for ${wordSeconds(telling.afterMs)}: ending it with SIGKILL`,
      };
    case 'abandoned':
      return { event, level: 'error', message: 'QEMU has not gone even on SIGKILL (the kernel holds it): leaving it' };
  }
}
