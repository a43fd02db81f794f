import type { SignalName } from '../signals/names.js';

/** Why qemu-trap told QEMU to quit, or killed it. */
export type EndCause =
  | 'deadline'
  /** The end of the time that a guest which writes has. */
  | 'busy-deadline'
  /** The guest had more time as long as it wrote, and wrote no more. */
  | 'quiet-deadline'
  | 'cut'
  | 'asked'
  | 'panicked'
  | 'internal-error'
  | 'never-ran'
  | 'incoming'
  | 'migrated'
  | 'powered-off'
  | 'going';

/** Whether the cause means that a guest which still ran loses power, and the reason in words. */
export const endCauses: Readonly<Record<EndCause, { readonly forced: boolean; readonly words: string }>> = {
  deadline: { forced: true, words: 'the deadline passed' },
  'busy-deadline': { forced: true, words: 'the guest was still writing when --busy-timeout was over' },
  'quiet-deadline': {
    forced: true,
    words: 'the deadline had passed, and the guest had written nothing for 15 s',
  },
  cut: { forced: true, words: 'the wait was cut short by SIGQUIT or a second Ctrl-C' },
  asked: { forced: true, words: 'as the signal asks' },
  panicked: { forced: true, words: 'the guest had panicked' },
  'internal-error': { forced: true, words: "the guest's processor had stopped on an internal error" },
  'never-ran': { forced: false, words: 'the guest never ran' },
  incoming: { forced: false, words: 'the guest had not arrived yet (incoming migration)' },
  migrated: { forced: false, words: 'the guest had been migrated or saved' },
  'powered-off': { forced: false, words: 'the guest powered off' },
  going: { forced: false, words: 'QEMU announced its exit' },
};

/** The reason in words, on `signal` if one began the shutdown. */
export function describeCause(cause: EndCause, signal: SignalName | null): string {
  return cause === 'asked' && signal !== null ? `as ${signal} asks` : endCauses[cause].words;
}

/** The guest had not shut down when its time was up. */
export function isLate(cause: EndCause | null): boolean {
  return cause === 'deadline' || cause === 'busy-deadline' || cause === 'quiet-deadline';
}
