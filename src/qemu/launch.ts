import type { SignalName } from '../signals.js';

/** The programs that set at exec what Node cannot: a signal mask and a parent-death signal. */
export interface Helpers {
  /** `env` with `--block-signal` (GNU coreutils 8.31 or later), or `null`. */
  readonly env: string | null;
  /** `setpriv` with `--pdeathsig` (util-linux), or `null`. */
  readonly setpriv: string | null;
}

export interface LaunchWish {
  readonly qemu: readonly string[];
  readonly shield: boolean;
  readonly dieWithParent: boolean;
  readonly helpers: Helpers;
  /** Descriptors that QEMU's options name. */
  readonly namedFds: readonly number[];
  /** Those of them that are open. */
  readonly fds: readonly number[];
  /** The file that adds the monitors. */
  readonly monitorsFile: string;
  /** A saved guest to resume, open for reading; QEMU loads it and waits. */
  readonly savedState: number | null;
}

export interface LaunchPlan {
  readonly command: string;
  readonly args: readonly string[];
  readonly stdio: readonly ('inherit' | 'ignore' | 'pipe' | number)[];
  /** QEMU's own number for its end of the control monitor. */
  readonly controlFd: number;
  /** QEMU gets a session of its own, for want of a better shield. */
  readonly detached: boolean;
}

/**
 * Signals that end a bare QEMU, and that it never unblocks where it was started with them blocked. The last two are
 * for a terminal, which sends Ctrl-\ and Ctrl-Z to QEMU too: the one would end it without a flush, the other stop it
 * while qemu-trap goes on.
 */
const shielded = 'TERM,INT,HUP,QUIT,TSTP';

/** How to start QEMU: its command line untouched, what is added after it. */
export function planLaunch(wish: LaunchWish): LaunchPlan {
  const { helpers, namedFds, fds } = wish;
  const words: string[] = [];
  // In this order, for env(1) takes a QEMU with a = in its path for a variable.
  if (wish.shield && helpers.env !== null) words.push(helpers.env, `--block-signal=${shielded}`);
  if (wish.dieWithParent && helpers.setpriv !== null) words.push(helpers.setpriv, '--pdeathsig', 'KILL');
  // -readconfig, and not -mon: the latter takes away the monitor that -nographic has on Ctrl-A c by default.
  words.push(...wish.qemu, '-readconfig', wish.monitorsFile);

  const inherited = new Map<number, 'pipe' | number>(fds.map((fd) => [fd, fd]));
  const place = (what: 'pipe' | number): number => {
    let fd = 3;
    // A number that an option names is never qemu-trap's, or QEMU would take the monitor for what the user meant.
    while (inherited.has(fd) || namedFds.includes(fd)) fd++;
    inherited.set(fd, what);
    return fd;
  };
  const controlFd = place('pipe');
  if (wish.savedState !== null) words.push('-incoming', `fd:${place(wish.savedState)}`, '-S');
  const stdio: LaunchPlan['stdio'][number][] = ['inherit', 'inherit', 'inherit'];
  for (let fd = 3; fd <= Math.max(...inherited.keys()); fd++) stdio.push(inherited.get(fd) ?? 'ignore');
  const [command = '', ...args] = words;
  return { command, args, stdio, controlFd, detached: wish.shield && helpers.env === null };
}

/** The monitors that listen on sockets in the run directory. */
export interface Monitors {
  /** For whoever takes the VM over when this qemu-trap has been killed. */
  readonly control: string;
  /** One for each signal that has a hook. */
  readonly hooks: ReadonlyMap<SignalName, string>;
  /** For the hook of a signal that had none when QEMU was started. */
  readonly lateHooks: string;
  /** Spare ones, for scripts that dial a socket. */
  readonly qmp: string;
  readonly human: string;
}

/**
 * The file for `-readconfig`: one monitor on the inherited descriptor `controlFd`, and the listening ones, since a
 * monitor serves one client at a time.
 */
export function monitorsConfig(controlFd: number, monitors: Monitors): string {
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
    monitor('control', 'control', [`fd = "${controlFd}"`]),
    monitor('heir', 'control', listening(monitors.control)),
    ...[...monitors.hooks].map(([signal, path]) => monitor(`hook-${signal}`, 'control', listening(path))),
    monitor('hook-late', 'control', listening(monitors.lateHooks)),
    monitor('qmp', 'control', listening(monitors.qmp)),
    monitor('human', 'readline', listening(monitors.human)),
  ].join('');
}
