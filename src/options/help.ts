/** What `--help` prints. */
export const usage = `Usage: qemu-trap [OPTION...] [--] QEMU [QEMU-OPTION...]
       qemu-trap --check [OPTION...] [-- QEMU...]
       qemu-trap --attach SOCKET [OPTION...]
       qemu-trap --status [NAME...]
       qemu-trap --new-hook SIGNAL|start|end [--hooks DIR]
       qemu-trap --try SIGNAL [OPTION...] [-- QEMU...]

Runs QEMU as a service. On SIGTERM, SIGINT, SIGHUP and SIGPWR the guest is shut
down through its ACPI power button; on any signal a hook of yours may run, with
a socket to QEMU's QMP monitor as file descriptor 3.

  --hooks DIR           the hooks directory (default: $QEMU_TRAP_HOOKS, else
                        /etc/qemu-trap/hooks where it exists, else only the
                        bundled hooks)
  --signal SPEC         a rule for one signal; may be repeated; -signal SPEC too
  --timeout SECONDS     from the signal to the default action (default: 60)
  --kill-after SECONDS  from the default action to SIGKILL of QEMU (default: 10)
  --name NAME           the VM's name (default: QEMU's -name, else qemu- and a
                        hash of QEMU's command line)
  --run-dir DIR         the VM's own directory for sockets and state (default:
                        /run/qemu-trap/NAME for root, else
                        $XDG_RUNTIME_DIR/qemu-trap/NAME, else a fresh one)
  --ready-fd FD         write a newline to FD and close it once the VM runs
  --log text|json       log lines on stderr, one event each (default: text)
  --press SECONDS[,SECONDS...]|once
                        gaps between presses of the power button, the last one
                        repeated (default: 10)
  --on-death kill|keep  what becomes of QEMU when qemu-trap is killed: it ends
                        too, or runs on and the next start takes it over
                        (default: kill)
  --agent SOCKET        the socket of the QEMU guest agent, for the hooks that
                        need it (default: $QEMU_TRAP_AGENT)
  --state-dir DIR       where the hook save keeps a guest, and the next start
                        looks for it, and how the last runs ended (default:
                        /var/lib/qemu-trap for root, else
                        $XDG_STATE_HOME/qemu-trap or ~/.local/state/qemu-trap)
  --no-shield           let signals sent to QEMU itself reach it
  --attach SOCKET       stand in for a QEMU that runs already, by the socket of
                        its QMP monitor
  --check               print what each signal would do, what each hook is, and
                        every fault, in QEMU's command line too; run nothing
  --status              print the VMs under qemu-trap on this host, or those
                        named, and how their last stops went
  --new-hook SIGNAL|start|end
                        write a commented hook to begin with into the hooks
                        directory
  --try SIGNAL          rehearse a hook with a throw-away guest: print what
                        happens when, and all that goes over its descriptor 3
  --version, -V         print the version
  --help, -h            print this

SPEC is SIGNAL[,script=NAME|PATH][,monitorcommand=COMMAND][,timeout=SECONDS]
[,default=quit|kill|none]; a comma within a value is written ,,

  qemu-trap -- qemu-system-x86_64 -name web -m 2G disk.qcow2
  qemu-trap --signal SIGHUP,script=reset -- qemu-system-x86_64 ...

Exit status, the first that is so: 125 called wrongly, or the hook start failed,
or QEMU was another's child and is gone without a word; 126 QEMU cannot be
executed; 127 not found; 137 qemu-trap killed QEMU; 124 it told QEMU to quit,
and the guest lost power; 128+N signal N from elsewhere ended QEMU; QEMU's own,
if not 0; 123 the guest panicked, or a watchdog ended it; else 0.
`;
