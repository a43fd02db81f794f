import minimist from 'minimist';
import { refuseMisplaced, refuseSubcommand, unknownOption } from './near-miss.js';
import { options } from './table.js';
import { parsePress } from './press.js';
import { parseSeconds } from '../system/duration.js';
import { parseSignalSpec, type SignalSpec } from '../rules/spec.js';
import type { SignalName } from '../signals/names.js';
import { longestSocketPath } from '../system/socket-path.js';
import { UsageError } from '../system/usage-error.js';
import type { PressGaps } from '../dispatch/press-gaps.js';

/** What `--timeout` is if nobody says. */
export const defaultTimeoutSeconds = 60;

/** What the command line asks for, normalised once and trusted after. */
export interface Config {
  readonly mode: 'run' | 'attach' | 'check' | 'status' | 'new-hook' | 'try' | 'help' | 'version';
  /** As given by `--hooks` or `$QEMU_TRAP_HOOKS`; `null`: the default directory where it exists. */
  readonly hooksDir: string | null;
  readonly specs: ReadonlyMap<SignalName, SignalSpec>;
  readonly timeoutMs: number;
  readonly killAfterMs: number;
  readonly name: string | null;
  readonly runDir: string | null;
  readonly readyFd: number | null;
  readonly log: 'text' | 'json';
  /** As the user wrote it, for the hooks' environment. */
  readonly press: string;
  readonly pressGaps: PressGaps;
  readonly shield: boolean;
  /** Whether QEMU ends when qemu-trap is killed. */
  readonly onDeath: 'kill' | 'keep';
  /** The QMP server socket of a QEMU that runs already. */
  readonly attach: string | null;
  /** The socket of the QEMU guest agent. */
  readonly agent: string | null;
  /** Where saved guests are kept; `null`: the default directory. */
  readonly stateDir: string | null;
  /** What `--new-hook` is to write a hook for. */
  readonly newHook: string | null;
  /** The signal that `--try` tries. */
  readonly tried: string | null;
  /** QEMU and its options, untouched; of `--status` the names of VMs. */
  readonly qemu: readonly string[];
}

const valued = options.filter(({ value }) => value !== null).map(({ name }) => name);
const flags = options.filter(({ value }) => value === null).map(({ name }) => name);
const known = new Set(options.map(({ name }) => `--${name}`));

/** Options of one dash: as the proposal to QEMU wrote its own, and as every program has them. */
const short: Readonly<Record<string, string>> = { '-signal': '--signal', '-h': '--help', '-V': '--version' };

/** QEMU's command line begins at `--`, or at the first word that is neither an option nor an option's value; after `--status` such words are names of VMs. */
function splitAtQemu(argv: readonly string[]): { own: string[]; qemu: string[] } {
  const own: string[] = [];
  const names: string[] = [];
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i] as string;
    if (word === '--') return { own, qemu: [...names, ...argv.slice(i + 1)] };
    if (!word.startsWith('-')) {
      if (own.includes('--status')) {
        names.push(word);
        continue;
      }
      refuseSubcommand(word);
      return { own, qemu: argv.slice(i) };
    }
    const option = short[word] ?? word;
    // Asked here, for minimist trips over names that every object has (--constructor).
    const [name = ''] = option.split('=', 1);
    if (!known.has(name)) throw unknownOption(name);
    own.push(option);
    if (valued.includes(option.slice(2)) && i + 1 < argv.length && argv[i + 1] !== '--') own.push(argv[++i] as string);
  }
  return { own, qemu: names };
}

/**
 * In the form that minimist reads as it is meant: a value that begins with a dash joined to its option, and
 * `--no-shield` as the flag it is, for minimist reads every `--no-X` as "X is false", even of an X nobody has.
 */
function forMinimist(own: readonly string[]): string[] {
  const words: string[] = [];
  for (let i = 0; i < own.length; i++) {
    const word = own[i] as string;
    if (valued.includes(word.slice(2)) && i + 1 < own.length) words.push(`${word}=${own[++i] as string}`);
    else if (word.startsWith('--no-')) words.push(`${word}=true`);
    else words.push(word);
  }
  return words;
}

function oneOf<T extends string>(option: string, text: string, choices: readonly T[]): T {
  if ((choices as readonly string[]).includes(text)) return text as T;
  throw new UsageError(`--${option} ${text}: write --${option} ${choices.join(` or --${option} `)}`);
}

function socketPath(option: string, path: string | null): string | null {
  if (path !== null && Buffer.byteLength(path) > longestSocketPath) {
    throw new UsageError(
      `--${option} ${path}: the path has ${Buffer.byteLength(path)} bytes, and a unix socket takes ${longestSocketPath}: name a shorter one`,
    );
  }
  return path;
}

/**
 * Reads the command line.
 * @param argv without Node and the script
 * @throws {UsageError} for anything that is not in usage.ts
 */
export function parseArgs(argv: readonly string[], env: NodeJS.ProcessEnv): Config {
  const { own, qemu } = splitAtQemu(argv);
  const parsed = minimist(forMinimist(own), { string: valued, boolean: flags });

  const all = (option: string): string[] => {
    const value: unknown = parsed[option];
    const values = value === undefined ? [] : Array.isArray(value) ? (value as string[]) : [value as string];
    for (const each of values)
      if (each === '') throw new UsageError(`--${option} needs a value: write --${option} VALUE`);
    return values;
  };
  const last = (option: string): string | undefined => all(option).at(-1);

  const specs = new Map<SignalName, SignalSpec>();
  for (const text of all('signal')) {
    const spec = parseSignalSpec(text);
    if (specs.has(spec.signal)) {
      throw new UsageError(`--signal ${text}: ${spec.signal} has a rule already: put both into one --signal`);
    }
    specs.set(spec.signal, spec);
  }

  const mode =
    (['help', 'version', 'check', 'status'] as const).find((flag) => parsed[flag]) ??
    (['new-hook', 'try', 'attach'] as const).find((option) => last(option) !== undefined) ??
    'run';
  const readyFd = last('ready-fd');
  if (readyFd !== undefined && !/^\d{1,9}$/.test(readyFd)) {
    throw new UsageError(`--ready-fd ${readyFd}: write the number of an open file descriptor, such as 3`);
  }
  if (readyFd !== undefined && Number(readyFd) < 3) {
    throw new UsageError(
      `--ready-fd ${readyFd}: that is stdin, stdout or stderr: write the number of another open file descriptor, such as 3`,
    );
  }
  const press = last('press') ?? '10';
  const config: Config = {
    mode,
    hooksDir: last('hooks') ?? (env['QEMU_TRAP_HOOKS'] || null),
    specs,
    timeoutMs: parseSeconds(last('timeout') ?? String(defaultTimeoutSeconds), '--timeout'),
    killAfterMs: parseSeconds(last('kill-after') ?? '10', '--kill-after'),
    name: last('name') ?? null,
    runDir: last('run-dir') ?? null,
    readyFd: readyFd === undefined ? null : Number(readyFd),
    log: oneOf('log', last('log') ?? 'text', ['text', 'json']),
    press,
    pressGaps: parsePress(press),
    shield: !parsed['no-shield'],
    stateDir: last('state-dir') ?? null,
    onDeath: oneOf('on-death', last('on-death') ?? 'kill', ['kill', 'keep']),
    attach: socketPath('attach', last('attach') ?? null),
    agent: socketPath('agent', last('agent') ?? (env['QEMU_TRAP_AGENT'] || null)),
    newHook: last('new-hook') ?? null,
    tried: last('try') ?? null,
    qemu,
  };
  if (mode === 'run' && qemu.length === 0) {
    throw new UsageError(
      'no QEMU to run: write qemu-trap [OPTION...] -- qemu-system-x86_64 ... (see qemu-trap --help)',
    );
  }
  if (mode !== 'status') refuseMisplaced(qemu);
  if (mode === 'new-hook' && qemu.length > 0)
    throw new UsageError(`--new-hook: it runs no QEMU: leave out '${qemu[0]}' and everything after it`);
  if (mode === 'attach') {
    if (qemu.length > 0)
      throw new UsageError(`--attach: QEMU is running already: leave out '${qemu[0]}' and everything after it`);
    if (last('on-death') === 'kill')
      throw new UsageError(
        '--on-death kill: not possible with --attach, because QEMU is not a child of qemu-trap: leave it out',
      );
  }
  return config;
}
