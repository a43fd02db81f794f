import type { State } from '../dispatch/state.js';
import type { Log } from '../log/log.js';
import type { Config } from '../options/command.js';
import type { MonitorPaths } from '../qemu/launch-plan.js';
import type { QmpEvent } from '../qmp/messages.js';
import type { RuleBook } from '../rules/rule.js';
import type { RunDir } from '../run-dir/run-dir.js';
import type { ServiceManager } from '../service-manager/notify.js';
import type { SignalName } from '../signals/names.js';
import type { ReadyDescriptor } from './readiness.js';
import type { SavedState, StateFile } from './saved-state.js';
import type { Qemu } from '../qemu/qemu.js';

/** A QEMU that this qemu-trap did not start. */
export interface Adoption {
  /** How long it has been there, in milliseconds. */
  readonly ageMs: number;
  /** The command line that was asked for is not the one it runs with. */
  readonly isOther: boolean;
  /** It has one monitor, which was not made by qemu-trap: qemu-trap itself shares that out to hooks and scripts. */
  readonly sharesMonitor: boolean;
  /** Settled when nothing is left of the hooks of a qemu-trap that served it before, and was killed. */
  readonly cleared: Promise<void>;
}

/** A QEMU that runs, and what goes with it. */
export interface RunningQemu {
  readonly qemu: Qemu;
  readonly monitors: MonitorPaths;
  readonly runDir: RunDir;
  /** What QEMU was started to resume. */
  readonly saved: SavedState | null;
  /** Where QEMU finds that, in the words of `migrate-incoming`, the first that it knows. */
  readonly incoming: readonly string[];
  /** `null` if qemu-trap has started it. */
  readonly adoption: Adoption | null;
}

/** A shutdown, from its signal on. */
export interface ShutdownRequest {
  readonly signal: SignalName;
  /** On the clock of `performance.now()`. */
  readonly since: number;
  readonly timeoutMs: number;
}

/** Is shown each state, after what it led to has been done. */
export interface Observer {
  follow(state: State): void;
  /** What an administrator should look after; `null` when that is over. */
  warn?(warning: string | null): void;
  /** QEMU has exited. */
  close(): void;
}

/** @returns the monitors that hooks are to have in the place of these */
type Tap = (monitors: MonitorPaths) => Promise<MonitorPaths>;

/** What a VM is to be run with. */
export interface VmContext {
  readonly config: Config;
  readonly vm: string;
  readonly book: RuleBook;
  readonly log: Log;
  /** Who is shown how it goes; before it is served, those besides the ones that every VM has. */
  readonly observers: readonly Observer[];
  /** Puts something between hooks and their monitors; `null` if hooks have QEMU's own. */
  readonly tap: Tap | null;
  /** Whether the hook of an event, `start`, `ready` or `end` is run; `--try`, which is for one thing, does without the rest. */
  readonly runsHookOf: (occasion: string) => boolean;
  /** Is given what tells the VM of an event that QEMU has not said; `null`: none is made up. */
  readonly makesUp: ((tell: (event: QmpEvent) => void) => void) | null;
  /** Whether a QEMU that refuses to start is kept in the history; a drop-in is called for all kinds of things. */
  readonly keepsFailedStarts: boolean;
}

/** What a VM is run with, each time its QEMU is started. */
export interface RunContext extends VmContext {
  readonly stateFile: StateFile | null;
  readonly manager: ServiceManager;
  readonly ready: ReadyDescriptor | null;
}
