import type { SignalName } from '../signals/names.js';

/** The names of what qemu-trap puts into a run directory. */
export const runFiles = {
  lock: 'lock',
  monitorsConfig: 'monitors.cfg',
  /** QEMU's pid, for scripts. */
  qemuPid: 'qemu.pid',
  /** QEMU's pid and start time. Version 0.1.0 had them in {@link runFiles.qemuPid}. */
  qemu: 'qemu.id',
  /** It says: QEMU is on its way, and which process it is has not been seen yet. */
  starting: 'starting',
  /** The control monitor of the qemu-trap that takes the VM over. */
  control: 'control.sock',
  hook: (signal: SignalName) => `hook-${signal}.sock`,
  /** For the hook of a signal that had none when QEMU was started. */
  lateHooks: 'hook-late.sock',
  qmp: 'qmp.sock',
  human: 'monitor.sock',
  /** For the event of QEMU's that a hook is run for. */
  events: 'hook-events.sock',
  /** The stdin of a hook, for a moment. */
  input: 'input',
  output: (number: number) => `output-${number}`,
  /** How the VM is, for `--status`. */
  status: 'status.json',
  statusPart: 'status.json.part',
  /** Where the control groups of the hooks are. */
  hookGroups: 'hook-groups',
  /** It says: the state that the guest was loaded from is gone, and the guest has still to be let go. */
  resuming: 'resuming',
  /** It says: a hook has asked the guest's agent for a freeze. */
  frozen: 'frozen',
} as const;

/** True for the name of a file that a qemu-trap which was killed may have left; the lock is none. */
export function isRunFile(name: string): boolean {
  return /^(monitors\.cfg|qemu\.(pid|id)|control\.sock|hook-[A-Za-z0-9]+\.sock|hook-groups|qmp\.sock|monitor\.sock|output-\d+|input|frozen|resuming|starting|status\.json(\.part)?)$/.test(
    name,
  );
}

/** True for a file that a qemu-trap needs while it takes the lock, and leaves if it is killed meanwhile. */
export function isLockingFile(name: string): boolean {
  return /^lock\.(\d+|after\.[0-9a-f]+)$/.test(name);
}

/** True for what a qemu-trap that was killed may have left, but for the lock. */
export function isLeftFile(name: string): boolean {
  return isRunFile(name) || isLockingFile(name);
}

/** The signal for whose hook the monitor at a file of this name is; `null` if it is none. */
export function signalOfHookFile(name: string): SignalName | null {
  return (/^hook-(SIG[A-Z0-9]+)\.sock$/.exec(name)?.[1] as SignalName | undefined) ?? null;
}
