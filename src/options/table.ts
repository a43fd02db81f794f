/*
 * The options of the command line: what options/parse.ts reads, --help prints, and shells complete.
 */

/** The kind of an option's value, for completion. */
export type ValueKind = 'directory' | 'file' | 'hook name' | 'rule' | 'free' | readonly string[];

export interface Option {
  readonly name: string;
  /** With one letter. */
  readonly short?: string;
  /** `null`: the option takes no value. */
  readonly value: ValueKind | null;
  /** How `--help` writes the value. */
  readonly argument?: string;
  /** What `--help` says of it. */
  readonly help: string;
}

export const options: readonly Option[] = [
  {
    name: 'hooks',
    value: 'directory',
    argument: 'DIR',
    help: 'the hooks directory (default: $QEMU_TRAP_HOOKS, else /etc/qemu-trap/hooks if it exists, else only the bundled hooks)',
  },
  {
    name: 'signal',
    value: 'rule',
    argument: 'SPEC',
    help: "a rule for one signal; may be repeated; -signal SPEC works too, also among QEMU's options",
  },
  {
    name: 'timeout',
    value: 'free',
    argument: 'TIME|infinity',
    help: 'time from the signal to the default action; infinity: only SIGQUIT forces the guest (default: 60)',
  },
  {
    name: 'kill-after',
    value: 'free',
    argument: 'TIME',
    help: 'time from the default action to SIGKILL (default: 10)',
  },
  {
    name: 'busy-timeout',
    value: 'free',
    argument: 'TIME',
    help: 'time from the signal to the default action for a guest that still writes to its disks (default: --timeout)',
  },
  {
    name: 'name',
    value: 'free',
    argument: 'NAME',
    help: "the VM's name (default: QEMU's -name, else qemu- and a hash of QEMU's command line)",
  },
  {
    name: 'run-dir',
    value: 'directory',
    argument: 'DIR',
    help: 'a directory for sockets and state of this VM alone (default: /run/qemu-trap/NAME for root, else $XDG_RUNTIME_DIR/qemu-trap/NAME, else a new one)',
  },
  {
    name: 'ready-fd',
    value: 'free',
    argument: 'FD',
    help: 'write a newline to FD and close it once the VM runs',
  },
  {
    name: 'log',
    value: ['text', 'json', 'prometheus'],
    argument: 'text|json',
    help: 'format of the log on stderr, one event a line (default: text); also of what --check and --status print, the latter as metrics with prometheus',
  },
  {
    name: 'press',
    value: ['10', '0.5,10', 'once'],
    argument: 'TIME[,TIME...]|once',
    help: 'gaps between presses of the power button, the last one repeated (default: as the guest needs; else 10)',
  },
  {
    name: 'on-death',
    value: ['kill', 'keep'],
    argument: 'kill|keep',
    help: 'what happens to QEMU when qemu-trap is killed: it is killed too, or it keeps running and the next start takes it over (default: kill)',
  },
  {
    name: 'agent',
    value: 'file',
    argument: 'SOCKET',
    help: 'the socket of the QEMU guest agent, for the hooks that need it (default: $QEMU_TRAP_AGENT)',
  },
  {
    name: 'state-dir',
    value: 'directory',
    argument: 'DIR',
    help: 'directory for saved guests (hook save) and for the history of past runs (default: /var/lib/qemu-trap for root, else $XDG_STATE_HOME/qemu-trap or ~/.local/state/qemu-trap)',
  },
  { name: 'no-shield', value: null, help: 'let signals sent to QEMU itself reach it' },
  {
    name: 'attach',
    value: 'file',
    argument: 'SOCKET',
    help: 'serve a QEMU that is already running; SOCKET is that of its QMP monitor',
  },
  {
    name: 'check',
    value: null,
    help: "print what each signal would do, what each hook is, and every fault, also in QEMU's command line; run nothing",
  },
  {
    name: 'status',
    value: null,
    help: 'print the VMs under qemu-trap on this host, or those named, and how their last stops went',
  },
  {
    name: 'alert',
    value: null,
    help: 'with --status: print the VMs whose guest was cut off in their last run, or may have been; status 1 if any',
  },
  {
    name: 'stop',
    value: null,
    help: 'shut down the VMs named after it, as SIGTERM to their qemu-trap does, and wait until they have ended',
  },
  { name: 'all', value: null, help: 'with --stop: every running VM of the user who calls it' },
  {
    name: 'new-hook',
    value: 'hook name',
    argument: 'SIGNAL|EVENT|start|ready|end',
    help: 'write a commented example hook into the hooks directory',
  },
  {
    name: 'try',
    value: 'hook name',
    argument: 'SIGNAL|EVENT|start|ready|end',
    help: 'rehearse a hook with a throw-away guest: print what happens when, and everything sent over descriptor 3',
  },
  {
    name: 'drop-in',
    value: ['on', 'divert', 'off'],
    argument: 'on|divert|off',
    help: 'run all QEMUs of this host under qemu-trap: on, by links in /usr/local/bin; divert, also those called by their path in /usr/bin; off undoes both',
  },
  { name: 'force', value: null, help: 'with --drop-in: also on a host with libvirt or Proxmox' },
  { name: 'version', short: 'V', value: null, help: 'print the version' },
  { name: 'help', short: 'h', value: null, help: 'print this help' },
];
