import type { Socket } from 'node:net';

export interface QemuExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Of a process that is no child of ours: wait(2) is for its parent. */
export const unknownExit: QemuExit = { code: null, signal: null };

/** What is left to know when QEMU has exited. */
export interface Finish {
  /** QEMU's, or its wrapper's that tells of it. */
  readonly exit: QemuExit;
  /** The pid of a wrapper that had to be killed. */
  readonly killedWrapper: number | null;
}

/** The running QEMU. */
export interface Qemu {
  /** As far as it is known: the process that was started, until it is seen which one serves the monitors. */
  readonly pid: number;
  /** The connection to the control monitor; `null` until it has been reached. */
  readonly control: Socket | null;
  /** Fulfilled with that connection; pending for ever if it is never reached. */
  readonly reached: Promise<Socket>;
  /** Settled when QEMU has exited; never rejected. */
  readonly gone: Promise<QemuExit>;
  /**
   * Waits for the wrapper in front of a QEMU that has exited, and ends it and what it has started anew.
   * @param withinMs how long it may take to end by itself, in milliseconds
   */
  finish(withinMs: number): Promise<Finish>;
  /**
   * It has said that it goes: a wrapper may hold the other end of its control monitor, which stays open then.
   * @param forMs how long to look for its end, in milliseconds
   */
  look(forMs: number): void;
  /** SIGKILL was sent to QEMU itself, and not to a wrapper that it had left. */
  readonly wasKilled: boolean;
  /**
   * Sees which process serves the monitors, once one has answered: with a wrapper in front of QEMU it is not the one
   * that was started.
   * @returns false if that cannot be told
   */
  locate(): boolean;
  /** Whether the kernel ends it when qemu-trap dies, if it was asked to do so for the process that was started (prctl(2)). */
  readonly isTied: boolean;
  /** What was killed before it had a monitor was not executed with our words: a wrapper has dropped them, and a guest may have run. */
  readonly bypassesUs: boolean;
  /**
   * SIGCONT, if SIGSTOP holds it: it would neither press its button nor quit.
   * @returns whether it was held
   */
  wake(): boolean;
  /** SIGKILL. */
  kill(): void;
  /** Has libuv look again which children have exited, if a flood of signals may have drowned SIGCHLD. */
  reap(): void;
}

/** How QEMU is found among its wrappers. */
export interface Traits {
  /** Where it listens for the qemu-trap that takes it over. */
  readonly controlSocket: string;
  /** What it alone was told to read. */
  readonly monitorsFile: string;
  readonly runDir: string;
}
