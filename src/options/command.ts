import type { PressGaps } from '../dispatch/press-gaps.js';
import type { SignalSpec } from '../rules/spec.js';
import type { SignalName } from '../signals/names.js';

/** What a VM is run with: the command line, normalised once and trusted after. */
export interface Config {
  /** As given by `--hooks` or `$QEMU_TRAP_HOOKS`; `null`: the default directory, if it exists. */
  readonly hooksDir: string | null;
  readonly specs: ReadonlyMap<SignalName, SignalSpec>;
  readonly timeoutMs: number;
  readonly killAfterMs: number;
  /** From the signal to the default action for a guest that still writes to its disks; `null`: as any other. */
  readonly busyTimeoutMs: number | null;
  readonly name: string | null;
  readonly runDir: string | null;
  readonly readyFd: number | null;
  readonly log: 'text' | 'json';
  readonly pressGaps: PressGaps;
  /** The user has given them: they are kept, whatever is known of the button. */
  readonly keepsPressGaps: boolean;
  readonly shield: boolean;
  /** What happens to QEMU when qemu-trap is killed. */
  readonly onDeath: 'kill' | 'keep';
  /** The QMP server socket of a QEMU that is running already; `null`: qemu-trap starts QEMU. */
  readonly attach: string | null;
  /** The socket of the QEMU guest agent. */
  readonly agent: string | null;
  /** Where saved guests are kept; `null`: the default directory. */
  readonly stateDir: string | null;
  /** QEMU and its options, untouched. */
  readonly qemu: readonly string[];
}

interface Run {
  readonly mode: 'run';
  readonly config: Config;
}

interface Attach {
  readonly mode: 'attach';
  readonly socket: string;
  readonly config: Config;
}

interface Check {
  readonly mode: 'check';
  readonly config: Config;
}

interface Try {
  readonly mode: 'try';
  readonly signal: string;
  readonly config: Config;
}

/** The format of what `--status` prints. */
export type StatusFormat = Config['log'] | 'prometheus';

interface Status {
  readonly mode: 'status';
  readonly isAlert: boolean;
  readonly names: readonly string[];
  readonly runDir: string | null;
  readonly stateDir: string | null;
  readonly format: StatusFormat;
}

interface Stop {
  readonly mode: 'stop';
  /** None: all that run. */
  readonly names: readonly string[];
  readonly runDir: string | null;
  readonly stateDir: string | null;
}

interface NewHook {
  readonly mode: 'new-hook';
  /** A signal, an event of QEMU's, `start`, `ready` or `end`. */
  readonly subject: string;
  readonly hooksDir: string | null;
}

interface DropIn {
  readonly mode: 'drop-in';
  readonly change: DropInChange;
  readonly isForced: boolean;
}

/** `on`: for callers that find QEMU by its name; `divert`: for those that write its path, too; `off`: neither. */
export type DropInChange = 'on' | 'divert' | 'off';

/** What the command line asks for. */
export type Command =
  | Run
  | Attach
  | Check
  | Try
  | Status
  | Stop
  | NewHook
  | DropIn
  | { readonly mode: 'help' }
  | { readonly mode: 'version' };
