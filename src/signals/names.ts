import { constants } from 'node:os';
import { nearest } from '../system/near-miss.js';

/** A signal's name in the long form, as `kill -l` and signal(7) have it. */
export type SignalName = NodeJS.Signals;

/** Signals that reach no handler, or that must not have one here. */
const untrappable: Readonly<Partial<Record<SignalName, string>>> = {
  SIGKILL: 'the kernel does not allow it (signal(7))',
  SIGSTOP: 'the kernel does not allow it (signal(7))',
  SIGSEGV: 'it means a fault in the program itself; a handler would fault again',
  SIGBUS: 'it means a fault in the program itself; a handler would fault again',
  SIGFPE: 'it means a fault in the program itself; a handler would fault again',
  SIGILL: 'it means a fault in the program itself; a handler would fault again',
  SIGCHLD: 'qemu-trap gets one for every hook that exits',
  SIGPIPE: 'qemu-trap ignores it, so that a closed stderr stops nothing',
};

/** Other names of the same number; a listener on one does not cover the other. */
export const aliases: Readonly<Record<string, SignalName>> = {
  SIGIOT: 'SIGABRT',
  SIGPOLL: 'SIGIO',
  SIGCLD: 'SIGCHLD',
  SIGUNUSED: 'SIGSYS',
};

/** Every signal that qemu-trap traps, in the order of their numbers. */
export const trappableSignals: readonly SignalName[] = (Object.keys(constants.signals) as SignalName[])
  .filter((name) => !(name in aliases) && !(name in untrappable))
  .sort((a, b) => constants.signals[a] - constants.signals[b]);

/** @param short a number, or a misspelt name without `SIG` */
function signalMeantBy(short: string): SignalName | null {
  const numbered = trappableSignals.find((signal) => String(constants.signals[signal]) === short);
  if (numbered !== undefined) return numbered;
  const meant = nearest(
    short,
    trappableSignals.map((signal) => signal.slice(3)),
  );
  return meant === null ? null : (`SIG${meant}` as SignalName);
}

/**
 * The signal that `text` names, with or without `SIG`, in either case.
 * @returns its long name, or one line that says why it will not do; `isSignal`: it is one, that cannot be trapped
 */
export function parseSignal(text: string): { signal: SignalName } | { error: string; isSignal: boolean } {
  const upper = text.toUpperCase();
  const long = upper.startsWith('SIG') ? upper : `SIG${upper}`;
  const signal = (aliases[long] ?? long) as SignalName;
  const reason = untrappable[signal];
  if (reason !== undefined) return { error: `${signal} cannot be trapped: ${reason}`, isSignal: true };
  if (!(trappableSignals as readonly string[]).includes(signal)) {
    const meant = signalMeantBy(long.slice(3));
    const error = `unknown signal '${text}': write ${meant ?? 'one such as SIGTERM or hup'} (kill -l lists them)`;
    return { error, isSignal: false };
  }
  return { signal };
}

/** As the kernel counts them (signal(7)). */
export function signalNumber(signal: SignalName): number {
  return constants.signals[signal];
}

/** The four spellings under which a hook for `signal` may lie in the hooks directory. */
export function hookNames(signal: SignalName): readonly string[] {
  const short = signal.slice('SIG'.length);
  return [signal, signal.toLowerCase(), short, short.toLowerCase()];
}
