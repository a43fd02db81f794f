import { shellQuote } from '../system/permissions.js';
import type { SignalName } from '../signals/names.js';
import type { Stdio } from '../system/descriptors.js';

/** The programs that set at exec what Node cannot: a signal mask and a parent-death signal. */
export interface Helpers {
  /** `env` with `--block-signal` (GNU coreutils 8.31 or later), or `null`. */
  readonly env: string | null;
  /** `setpriv` with `--pdeathsig` (util-linux), or `null`. */
  readonly setpriv: string | null;
}

/**
 * `none`: QEMU does not read from it. `foreground`: it does. `background`: it would, and the kernel would stop it for
 * that for good, so that it gets no stdin.
 */
export type TerminalUse = 'none' | 'foreground' | 'background';

interface LaunchRequest {
  readonly qemu: readonly string[];
  readonly shield: boolean;
  readonly dieWithParent: boolean;
  readonly helpers: Helpers;
  /** What QEMU may do with the terminal that it has as its stdio. */
  readonly terminal: TerminalUse;
  /** Descriptors from 3 up that QEMU is to have under their own numbers. */
  readonly inherited: readonly number[];
  /** Those of them that it gets only if they are named (close-on-exec). */
  readonly marked: readonly number[];
  /** A number that is not for QEMU: `--ready-fd`. */
  readonly withheld: number | null;
  /** No descriptor has a number at or above it (RLIMIT_NOFILE). */
  readonly descriptorLimit: number;
  /** The file that adds the monitors. */
  readonly monitorsFile: string;
  /** A saved guest to resume; QEMU loads it and waits. */
  readonly savedState: { readonly fd: number; readonly path: string } | null;
  /** A wrapper closes what QEMU is to inherit from us: its control monitor, and the saved guest, are named then. */
  readonly inheritsNothing: boolean;
}

export interface LaunchPlan {
  readonly command: string;
  readonly args: readonly string[];
  readonly stdio: readonly Stdio[];
  /** Descriptors that QEMU must not inherit. */
  readonly hidden: readonly number[];
  /** QEMU's own number for its end of the control monitor; `null` if that has a socket with a name. */
  readonly controlFd: number | null;
  /** Where the saved guest is, in the words of `migrate-incoming`, the first that QEMU knows. */
  readonly incoming: readonly string[];
  /** QEMU gets a session of its own, for want of a better shield. */
  readonly detached: boolean;
}

/**
 * Signals that end a bare QEMU, and that it never unblocks if it was started with them blocked. The last two are
 * for a terminal, which sends Ctrl-\ and Ctrl-Z to QEMU too: the one would end it without a flush, the other stop it
 * while qemu-trap goes on.
 */
const shielded = 'TERM,INT,HUP,QUIT,PWR,USR2,TSTP';
/** What stops a process that touches a terminal in whose background it is. */
const shieldedInBackground = `${shielded},TTIN,TTOU`;

/** In the environment of a QEMU that qemu-trap has started: a qemu-trap that is called there by the name of a QEMU is that QEMU and nothing else. */
export const insideVariable = 'QEMU_TRAP_INSIDE';

/** Where descriptors begin that are not stdio. */
const lowestFd = 3;
/** qemu-trap's own descriptors in QEMU have the highest free numbers below this one. */
const ownBelow = 256;

/**
 * Ways to name a saved guest: `file:` is there from QEMU 8.2 on, and `fd:` of a file up to 10.
 * @param fd QEMU's own number for it, opened by us; `null` if it has none, and opens it by its path
 */
export function incomingUris(path: string | null, fd: number | null): string[] {
  if (path === null) return [];
  return fd === null ? [`file:${path}`, `exec:cat ${shellQuote(path)}`] : [`file:/proc/self/fd/${fd}`, `fd:${fd}`];
}

/** How to start QEMU: its command line untouched, what is added after it. */
export function planLaunch(request: LaunchRequest): LaunchPlan {
  const { helpers, inherited, marked, withheld } = request;
  const words: string[] = [];
  // In this order, because env(1) takes a QEMU with a = in its path for a variable.
  if (request.shield && helpers.env !== null)
    words.push(helpers.env, `--block-signal=${request.terminal === 'foreground' ? shielded : shieldedInBackground}`);
  if (request.dieWithParent && helpers.setpriv !== null) words.push(helpers.setpriv, '--pdeathsig', 'KILL');
  // -readconfig, and not -mon: the latter takes away the monitor that -nographic has on Ctrl-A c by default.
  words.push(...request.qemu, '-readconfig', request.monitorsFile);

  const given = new Map<number, 'pipe' | number>(marked.map((fd) => [fd, fd]));
  const isFree = (fd: number): boolean => !inherited.includes(fd) && !given.has(fd) && fd !== withheld;
  const place = (what: 'pipe' | number): number => {
    // High, so that none is where a user means something of their own to be; and low enough for a small table.
    let fd = Math.min(ownBelow, request.descriptorLimit) - 1;
    while (fd >= lowestFd && !isFree(fd)) fd--;
    if (fd < lowestFd) for (fd = ownBelow; !isFree(fd); fd++);
    given.set(fd, what);
    return fd;
  };
  const controlFd = request.inheritsNothing ? null : place('pipe');
  const { savedState } = request;
  const inheritedState = savedState === null || request.inheritsNothing ? null : place(savedState.fd);
  // Where from it is asked when it can answer.
  if (savedState !== null) words.push('-incoming', 'defer', '-S');
  const stdio: Stdio[] = [request.terminal === 'background' ? 'ignore' : 'inherit', 'inherit', 'inherit'];
  for (let fd = lowestFd; fd <= Math.max(0, ...given.keys()); fd++) stdio.push(given.get(fd) ?? 'ignore');
  const [command = '', ...args] = words;
  return {
    command,
    args,
    stdio,
    hidden: withheld === null ? [] : [withheld],
    controlFd,
    incoming: incomingUris(savedState?.path ?? null, inheritedState),
    detached: request.shield && helpers.env === null,
  };
}

/** The monitors that listen on sockets in the run directory. */
export interface MonitorPaths {
  /** For the qemu-trap that takes the VM over when this one has been killed. */
  readonly control: string;
  /** One for each signal that has a hook. */
  readonly hooks: ReadonlyMap<SignalName, string>;
  /** For the hook of a signal that had none when QEMU was started. */
  readonly lateHooks: string;
  /** For the hooks of QEMU's events. */
  readonly events: string;
  /** Spare ones, for scripts that dial a socket. */
  readonly qmp: string;
  readonly human: string;
}

/**
 * The file for `-readconfig`: one monitor on the inherited descriptor `controlFd`, if there is one, and the listening
 * ones, since a monitor serves one client at a time.
 */
export function monitorsConfig(controlFd: number | null, monitors: MonitorPaths): string {
  const monitor = (name: string, mode: 'control' | 'readline', backend: readonly string[]): string =>
    [
      `[chardev "qemu-trap-${name}"]`,
      '  backend = "socket"',
      ...backend.map((line) => `  ${line}`),
      `[mon "qemu-trap-${name}"]`,
      `  chardev = "qemu-trap-${name}"`,
      `  mode = "${mode}"`,
      '',
    ].join('\n');
  const listening = (path: string): string[] => [`path = "${path}"`, 'server = "on"', 'wait = "off"'];
  return [
    controlFd === null ? '' : monitor('control', 'control', [`fd = "${controlFd}"`]),
    monitor('heir', 'control', listening(monitors.control)),
    ...[...monitors.hooks].map(([signal, path]) => monitor(`hook-${signal}`, 'control', listening(path))),
    monitor('hook-late', 'control', listening(monitors.lateHooks)),
    monitor('hook-events', 'control', listening(monitors.events)),
    monitor('qmp', 'control', listening(monitors.qmp)),
    monitor('human', 'readline', listening(monitors.human)),
  ].join('');
}
