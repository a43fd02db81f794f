import minimist from 'minimist';
import { refuseMisplaced, refuseSubcommand, refuseTimeInPieces, unknownOption } from './near-miss.js';
import { takeSignalsOut } from './signal-among-qemus.js';
import { options } from './table.js';
import { parsePress } from './press.js';
import { formatSeconds, parseTime } from '../system/duration.js';
import { parseSignalSpec, type SignalSpec } from '../rules/spec.js';
import type { SignalName } from '../signals/names.js';
import { nearest } from '../system/near-miss.js';
import { longestSocketPath } from '../system/socket-path.js';
import { UsageError } from '../system/usage-error.js';
import type { Command, Config, StatusFormat } from './command.js';

/** What `--timeout` is if it is not given. */
export const defaultTimeoutSeconds = 60;

const valued = options.filter(({ value }) => value !== null).map(({ name }) => name);
const flags = options.filter(({ value }) => value === null).map(({ name }) => name);
const known = new Set(options.map(({ name }) => `--${name}`));

/** Options of one dash: as the proposal to QEMU wrote its own, and as every program has them. */
const short: Readonly<Record<string, string>> = {
  '-signal': '--signal',
  ...Object.fromEntries(options.flatMap(({ name, short: letter }) => (letter ? [[`-${letter}`, `--${name}`]] : []))),
};

/** QEMU's command line begins at `--`, or at the first word that is neither an option nor an option's value; after `--status` such words are names of VMs. */
function splitAtQemu(argv: readonly string[]): { own: string[]; qemu: string[] } {
  const own: string[] = [];
  const names: string[] = [];
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i] as string;
    if (word === '--') return { own, qemu: [...names, ...argv.slice(i + 1)] };
    if (!word.startsWith('-')) {
      if (own.includes('--status') || own.includes('--stop')) {
        names.push(word);
        continue;
      }
      refuseSubcommand(word);
      refuseTimeInPieces(own, word);
      return { own, qemu: argv.slice(i) };
    }
    const option = short[word] ?? word;
    // Asked here, because minimist trips over names that every object has (--constructor).
    const [name = ''] = option.split('=', 1);
    if (!known.has(name)) throw unknownOption(name);
    if (option !== name && flags.includes(name.slice(2)))
      throw new UsageError(`${option}: ${name} takes no value: write ${name}`);
    own.push(option);
    if (valued.includes(option.slice(2)) && i + 1 < argv.length && argv[i + 1] !== '--') own.push(argv[++i] as string);
  }
  return { own, qemu: names };
}

/**
 * In the form that minimist reads as it is meant: a value that begins with a dash joined to its option, and
 * `--no-shield` as the flag it is, because minimist reads every `--no-X` as "X is false", even of an X that is no option.
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

function argumentOf(option: string): string {
  return options.find(({ name }) => name === option)?.argument ?? 'VALUE';
}

function oneOf<T extends string>(option: string, text: string, choices: readonly T[]): T {
  if ((choices as readonly string[]).includes(text)) return text as T;
  const meant = nearest(text, choices);
  throw new UsageError(`--${option} ${text}: write --${option} ${meant ?? choices.join(` or --${option} `)}`);
}

function socketPath(option: string, path: string | null): string | null {
  if (path !== null && Buffer.byteLength(path) > longestSocketPath) {
    throw new UsageError(
      `--${option} ${path}: the path has ${Buffer.byteLength(path)} bytes, and a unix socket takes ${longestSocketPath}: name a shorter one`,
    );
  }
  return path;
}

type Mode = Command['mode'];

/** @throws {UsageError} for two that cannot both be done */
function modeOf(parsed: Readonly<Record<string, unknown>>): Mode {
  for (const name of ['help', 'version'] as const) if (parsed[name]) return name;
  const modes = [
    ...(['check', 'status', 'stop'] as const).filter((name) => parsed[name]),
    ...(['new-hook', 'try', 'attach', 'drop-in'] as const).filter((name) => parsed[name] !== undefined),
  ];
  const [mode = 'run', other] = modes;
  if (other !== undefined) throw new UsageError(`--${mode} and --${other}: write only one of them`);
  return mode;
}

function readyDescriptor(text: string | undefined): number | null {
  if (text === undefined) return null;
  if (!/^\d{1,9}$/.test(text))
    throw new UsageError(`--ready-fd ${text}: write the number of an open file descriptor, such as 3`);
  if (Number(text) < 3)
    throw new UsageError(
      `--ready-fd ${text}: that is stdin, stdout or stderr: write the number of another open file descriptor, such as 3`,
    );
  return Number(text);
}

function specsOf(own: readonly string[], amongQemus: readonly string[]): Map<SignalName, SignalSpec> {
  const specs = new Map<SignalName, SignalSpec>();
  for (const text of [...own, ...amongQemus]) {
    const option = own.includes(text) ? '--signal' : '-signal';
    const spec = parseSignalSpec(text, option);
    if (specs.has(spec.signal))
      throw new UsageError(`${option} ${text}: ${spec.signal} has a rule already: put both into one ${option}`);
    specs.set(spec.signal, spec);
  }
  return specs;
}

/** @throws {UsageError} for one that would never come, or comes before the time that every guest has */
function busyTimeout(text: string | undefined, timeoutMs: number, specs: readonly SignalSpec[]): number | null {
  if (text === undefined) return null;
  const busyMs = parseTime(text, '--busy-timeout', 'a guest that is never forced has --timeout infinity');
  const refuse = (ms: number, what: string, infinity: string): void => {
    if (ms === Infinity)
      throw new UsageError(`--busy-timeout ${text}: with ${infinity} the guest is never forced: leave one of them out`);
    if (ms > busyMs)
      throw new UsageError(
        `--busy-timeout ${text}: it is counted from the signal, and shorter than ${what} (${formatSeconds(ms)}): write a longer one`,
      );
  };
  refuse(timeoutMs, '--timeout', '--timeout infinity');
  for (const { signal, timeoutMs: ms = 0, defaultAction } of specs)
    if (defaultAction !== 'none') refuse(ms, `timeout= of ${signal}`, `timeout=infinity of ${signal}`);
  return busyMs;
}

/** What follows are names of VMs, and no QEMU. */
function takesNames(mode: Mode): boolean {
  return mode === 'status' || mode === 'stop';
}

function statusFormat(text: string, mode: Mode): StatusFormat {
  if (mode === 'status') return oneOf('log', text, ['text', 'json', 'prometheus']);
  if (text === 'prometheus')
    throw new UsageError('--log prometheus works only with --status: write --log text or --log json');
  return oneOf('log', text, ['text', 'json']);
}

/** The log of a VM has no other. */
function logFormat(format: StatusFormat): Config['log'] {
  return format === 'prometheus' ? 'text' : format;
}

/** What goes with `--stop`. */
const forStop = ['--stop', '--all', '--run-dir', '--state-dir'];

/** @throws {UsageError} for an option that is nothing without another, or that another one has no use for */
function checkPartners(
  mode: Mode,
  parsed: Readonly<Record<string, unknown>>,
  own: readonly string[],
  names: readonly string[],
): void {
  for (const [option, its] of [
    ['alert', 'status'],
    ['all', 'stop'],
    ['force', 'drop-in'],
  ] as const)
    if (parsed[option] === true && mode !== its)
      throw new UsageError(`--${option} works only with --${its}: add --${its}, or leave --${option} out`);
  if (mode !== 'stop') return;
  const other = own.find((word) => word.startsWith('--') && !forStop.includes(word.split('=', 1)[0] ?? ''));
  if (other !== undefined)
    throw new UsageError(`--stop: ${other} is for running a VM, whose own options say how it stops: leave it out`);
  if (parsed['all'] === true && names.length > 0)
    throw new UsageError('--stop --all: that is every VM: leave the names out');
  if (parsed['all'] !== true && names.length === 0)
    throw new UsageError('--stop: which VM? write --stop NAME..., or --stop --all');
}

/** @throws {UsageError} for a QEMU that is missing, is one too many, or has an option of ours */
function checkQemu(mode: Mode, qemu: readonly string[]): void {
  if (mode === 'run' && qemu.length === 0)
    throw new UsageError(
      'no QEMU to run: write qemu-trap [OPTION...] -- qemu-system-x86_64 ... (see qemu-trap --help)',
    );
  if (!takesNames(mode)) refuseMisplaced(qemu);
  if (qemu.length === 0) return;
  if (qemu[0] === '' && !takesNames(mode))
    throw new UsageError(
      'the name of QEMU is empty: write -- qemu-system-x86_64 ... (is a variable of your script empty?)',
    );
  if (mode === 'new-hook')
    throw new UsageError(`--new-hook: it runs no QEMU: leave out '${qemu[0]}' and everything after it`);
  if (mode === 'drop-in')
    throw new UsageError(`--drop-in: it runs no QEMU: leave out '${qemu[0]}' and everything after it`);
  if (mode === 'attach')
    throw new UsageError(`--attach: QEMU is running already: leave out '${qemu[0]}' and everything after it`);
}

/**
 * Reads the command line.
 * @param argv without Node and the script
 * @throws {UsageError} for anything that `--help` does not list
 */
export function parseArgs(argv: readonly string[], env: NodeJS.ProcessEnv): Command {
  const { own, qemu: words } = splitAtQemu(argv);
  const parsed = minimist(forMinimist(own), { string: valued, boolean: flags });

  const all = (option: string): string[] => {
    const value: unknown = parsed[option];
    const values = value === undefined ? [] : Array.isArray(value) ? (value as string[]) : [value as string];
    for (const each of values)
      if (each === '') throw new UsageError(`--${option} needs a value: write --${option} ${argumentOf(option)}`);
    return values;
  };
  const last = (option: string): string | undefined => all(option).at(-1);

  const mode = modeOf(parsed);
  if (mode === 'help' || mode === 'version') return { mode };
  // After --status they are names of VMs.
  const { qemu, specs: signals } = takesNames(mode) ? { qemu: words, specs: [] } : takeSignalsOut(words);
  const specs = specsOf(all('signal'), signals);
  const timeoutMs = parseTime(last('timeout') ?? String(defaultTimeoutSeconds), '--timeout', null);
  const format = statusFormat(last('log') ?? 'text', mode);
  const config: Config = {
    hooksDir: last('hooks') ?? (env['QEMU_TRAP_HOOKS'] || null),
    specs,
    timeoutMs,
    busyTimeoutMs: busyTimeout(last('busy-timeout'), timeoutMs, [...specs.values()]),
    killAfterMs: parseTime(last('kill-after') ?? '10', '--kill-after', 'write a time, such as 10'),
    name: last('name') ?? null,
    runDir: last('run-dir') ?? null,
    readyFd: readyDescriptor(last('ready-fd')),
    log: logFormat(format),
    pressGaps: parsePress(last('press') ?? '10'),
    keepsPressGaps: last('press') !== undefined,
    shield: !parsed['no-shield'],
    stateDir: last('state-dir') ?? null,
    onDeath: oneOf('on-death', last('on-death') ?? 'kill', ['kill', 'keep']),
    attach: mode === 'attach' ? socketPath('attach', last('attach') ?? null) : null,
    agent: socketPath('agent', last('agent') ?? (env['QEMU_TRAP_AGENT'] || null)),
    qemu,
  };
  const [subject, signal] = [last('new-hook') ?? '', last('try') ?? ''];
  checkPartners(mode, parsed, own, qemu);
  checkQemu(mode, qemu);
  switch (mode) {
    case 'status':
      return { mode, names: qemu, runDir: config.runDir, stateDir: config.stateDir, format, isAlert: parsed['alert'] };
    case 'stop':
      return { mode, names: qemu, runDir: config.runDir, stateDir: config.stateDir };
    case 'new-hook':
      return { mode, subject, hooksDir: config.hooksDir };
    case 'drop-in':
      return {
        mode,
        change: oneOf('drop-in', last('drop-in') ?? '', ['on', 'divert', 'off']),
        isForced: parsed['force'],
      };
    case 'try':
      return { mode, signal, config };
    case 'attach':
      if (last('on-death') === 'kill')
        throw new UsageError(
          '--on-death kill: not possible with --attach, because QEMU is not a child of qemu-trap: leave it out',
        );
      return { mode, socket: config.attach ?? '', config };
    default:
      return { mode, config };
  }
}
