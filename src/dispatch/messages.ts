import type { ButtonPlace, ButtonReading, ButtonState } from '../outcome/button-evidence.js';
import type { DiskWrites } from '../outcome/disk-activity.js';
import type { EndCause } from '../outcome/end-cause.js';
import type { QemuEvent } from '../outcome/evidence.js';
import type { HookOutcome } from '../outcome/hook-outcome.js';
import type { DefaultAction } from '../rules/builtin.js';
import type { HookFile } from '../hook/find.js';
import type { StopReason } from '../hook/log-lines.js';
import type { MonitorStage, Rule } from '../rules/rule.js';
import type { SignalName } from '../signals/names.js';

export type Input =
  /** `times`: how often it came at once. */
  | { readonly kind: 'signal'; readonly rule: Rule; readonly times: number; readonly atTerminal: boolean }
  /** The control monitor answers, of a QEMU that was started `ageMs` ago. */
  | { readonly kind: 'monitor-up'; readonly runState: string; readonly ageMs: number }
  | { readonly kind: 'run-state'; readonly runState: string }
  | { readonly kind: 'powerdown' }
  /**
   * What `look-up-button` has found, or `read-button`, since the last `powerdown`, RESET and `wakeup`; `null` if QEMU has not
   * answered in time, or one of these came in between.
   */
  | { readonly kind: 'button-place'; readonly place: ButtonPlace | null }
  | { readonly kind: 'button'; readonly reading: ButtonReading | null }
  /** What `read-disks` has found; `null` if QEMU did not say. */
  | { readonly kind: 'disks'; readonly writes: DiskWrites | null }
  /** The guest was woken from its sleep. */
  | { readonly kind: 'wakeup' }
  | { readonly kind: 'qemu'; readonly event: QemuEvent }
  /** The hook has been reaped; what came of it follows with `hook-end`. */
  | { readonly kind: 'hook-exit'; readonly signal: SignalName }
  | { readonly kind: 'hook-end'; readonly signal: SignalName; readonly outcome: HookOutcome }
  /** `isPress`: of a press of the power button, and not of a command of the rule. */
  | { readonly kind: 'command-end'; readonly signal: SignalName; readonly ok: boolean; readonly isPress: boolean }
  /** QEMU has exited: what was counted is told, and nothing is decided any more. */
  | { readonly kind: 'gone' }
  | { readonly kind: 'tick' };

/** Why the next stage of a chain takes over. */
export type NextStageReason =
  | 'hook-failed'
  | 'hook-timeout'
  | 'command-failed'
  | 'command-done'
  /** QEMU has not answered the command, and the rest of the time belongs to the button. */
  | 'little-time'
  | 'reserve'
  | 'guest-reset';

/** What the log tells; vm/log-lines.ts has the words. */
export type Notice =
  | {
      readonly event: 'shutdown';
      readonly signal: SignalName;
      readonly timeoutMs: number;
      /** The same for a guest that writes, if that has more time. */
      readonly busyMs?: number;
      readonly defaultAction: DefaultAction;
      readonly waitsForMonitor: boolean;
    }
  | { readonly event: 'stands'; readonly signal: SignalName; readonly first: SignalName }
  | { readonly event: 'refused'; readonly signal: SignalName; readonly first: SignalName }
  | { readonly event: 'ignored'; readonly signal: SignalName; readonly times: number }
  | { readonly event: 'coalesced'; readonly signal: SignalName; readonly times: number }
  | { readonly event: 'again-to-force' }
  /** The deadline moves by `ms`. */
  | { readonly event: 'lost-time'; readonly signal: SignalName; readonly ms: number; readonly suspendedMs: number }
  /** The deadline has passed, and the guest still writes: it has until so long after the signal, if it goes on. */
  | {
      readonly event: 'more-time';
      readonly signal: SignalName;
      readonly bytesPerSecond: number;
      readonly quietMs: number;
      readonly busyMs: number;
    }
  | { readonly event: 'dropped'; readonly signal: SignalName }
  /** The hook said "not now" when the button was pressed already. */
  | { readonly event: 'too-late'; readonly signal: SignalName }
  | {
      readonly event: 'next-link';
      readonly signal: SignalName;
      readonly stage: MonitorStage;
      readonly because: NextStageReason;
    }
  /** What is known of the last press. */
  | { readonly event: 'button'; readonly signal: SignalName; readonly state: ButtonState }
  /** A guest that did not hear the last press listens now, and is pressed. */
  | { readonly event: 'listening'; readonly signal: SignalName }
  | { readonly event: 'failed'; readonly signal: SignalName }
  | { readonly event: 'command-timeout'; readonly signal: SignalName }
  | {
      readonly event: 'default-action';
      readonly signal: SignalName;
      readonly action: 'quit' | 'kill';
      readonly cause: EndCause;
    }
  | { readonly event: 'kill'; readonly cause: EndCause }
  /** QEMU said that it exits, and neither exits nor stays. */
  | { readonly event: 'exit-hangs'; readonly afterMs: number }
  | { readonly event: 'abandoned' };

/** What is to be done. */
export type Effect =
  | { readonly do: 'run-hook'; readonly signal: SignalName; readonly script: HookFile; readonly deadline: number }
  | { readonly do: 'stop-hook'; readonly signal: SignalName; readonly why: StopReason }
  /** Ask QEMU for its run state, and give it in as `run-state`. */
  | { readonly do: 'ask-run-state' }
  /** No hook may write to its monitor any more. */
  | { readonly do: 'silence-hooks' }
  /** Run the monitor command of the rule. */
  | { readonly do: 'command'; readonly signal: SignalName; readonly line: string }
  /** Press the power button, of a guest made to hear it; `isRunning`: nothing has to be asked first. */
  | { readonly do: 'press'; readonly signal: SignalName; readonly isRunning: boolean }
  /** Let a guest go on that stands still though its button was pressed; `isAgain`: as a moment ago, which was told. */
  | { readonly do: 'let-go-on'; readonly signal: SignalName; readonly isAgain: boolean }
  /** Find the registers of the power button, and give in as `button-place` whether they are there. */
  | { readonly do: 'look-up-button' }
  /** Read them, and give in what they say as `button`. */
  | { readonly do: 'read-button' }
  /** Ask QEMU what its disks have done, and give it in as `disks`. */
  | { readonly do: 'read-disks' }
  | { readonly do: 'quit' }
  | { readonly do: 'kill' }
  /** Not even SIGKILL killed QEMU in time: stop waiting for it. */
  | { readonly do: 'abandon' };
