import type { ButtonState } from '../outcome/button-evidence.js';
import type { EndCause } from '../outcome/end-cause.js';
import type { EndKind, Verdict } from '../outcome/ending.js';
import type { SignalName } from '../signals/names.js';

/** The first line of a run. A qemu-trap that takes the QEMU over puts its own identity there. */
export interface RunStart {
  readonly v: 1;
  readonly run: string;
  /** When, as Date has it (ISO 8601). */
  readonly time: string;
  readonly vm: string;
  /** The qemu-trap that serves it, and its QEMU: pid and start time. */
  readonly trap: string;
  readonly qemu: string;
}

/** How a run ended. */
export interface RunRecord {
  readonly v?: 1;
  /** Not in what version 0.1.0 wrote. */
  readonly run?: string;
  /** When, as Date has it (ISO 8601); if it is not known, when the run began. */
  readonly time: string;
  /** When the run began, of one whose end is not known. */
  readonly started?: string;
  readonly vm: string;
  readonly end: EndKind;
  readonly verdict: Verdict;
  /** The guest was cut off; `null`: not known. */
  readonly cut_off: boolean | null;
  readonly status: number | null;
  /** The signal that began the shutdown. */
  readonly signal: SignalName | null;
  readonly cause: EndCause | null;
  /** What is known of the last press of the power button. Not in what version 0.1.0 wrote. */
  readonly button?: ButtonState | null;
  /** From the signal to the end, or from the start if there was no signal, in milliseconds. */
  readonly ms: number | null;
  /** The timeout of the signal's rule, in milliseconds; `null` also if it is infinite, as `timeout` says then. */
  readonly timeout_ms: number | null;
  readonly timeout?: 'infinity';
  /** The last log line. */
  readonly message: string;
}
