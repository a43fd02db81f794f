/** What `--help` prints. */
export const usage = `Usage: qemu-trap [OPTION...] [--] QEMU [QEMU-OPTION...]
       qemu-trap --check [OPTION...] [-- QEMU...]
       qemu-trap --attach SOCKET [OPTION...]
       qemu-trap --status [NAME...]
       qemu-trap --new-hook SIGNAL|start|end [--hooks DIR]
       qemu-trap --try SIGNAL [OPTION...] [-- QEMU...]

Runs QEMU as a service. On SIGTERM, SIGINT, SIGHUP and SIGPWR it presses the
guest's power button (ACPI) and waits for the guest to shut down. On any signal
it can run a hook of yours, with a socket to QEMU's QMP monitor as file
descriptor 3.

  --hooks DIR           the hooks directory (default: $QEMU_TRAP_HOOKS, else
                        /etc/qemu-trap/hooks if it exists, else only the
                        bundled hooks)
  --signal SPEC         a rule for one signal; may be repeated; -signal SPEC
                        works too
  --timeout SECONDS     from the signal to the default action (default: 60)
  --kill-after SECONDS  from the default action to SIGKILL (default: 10)
  --name NAME           the VM's name (default: QEMU's -name, else qemu- and a
                        hash of QEMU's command line)
  --run-dir DIR         the VM's own directory for sockets and state (default:
                        /run/qemu-trap/NAME for root, else
                        $XDG_RUNTIME_DIR/qemu-trap/NAME, else a new one)
  --ready-fd FD         write a newline to FD and close it once the VM runs
  --log text|json       format of the log on stderr, one event a line (default:
                        text)
  --press SECONDS[,SECONDS...]|once
                        gaps between presses of the power button, the last one
                        repeated (default: 10)
  --on-death kill|keep  what happens to QEMU when qemu-trap is killed: it is
                        killed too, or it keeps running and the next start
                        takes it over (default: kill)
  --agent SOCKET        the socket of the QEMU guest agent, for the hooks that
                        need it (default: $QEMU_TRAP_AGENT)
  --state-dir DIR       directory for saved guests (hook save) and for the
                        history of past runs (default: /var/lib/qemu-trap for
                        root, else $XDG_STATE_HOME/qemu-trap or
                        ~/.local/state/qemu-trap)
  --no-shield           let signals sent to QEMU itself reach it
  --attach SOCKET       serve a QEMU that is already running; SOCKET is that of
                        its QMP monitor
  --check               print what each signal would do, what each hook is, and
                        every fault, also in QEMU's command line; run nothing
  --status              print the VMs under qemu-trap on this host, or those
                        named, and how their last stops went
  --new-hook SIGNAL|start|end
                        write a commented example hook into the hooks directory
  --try SIGNAL          rehearse a hook with a throw-away guest: print what
                        happens when, and everything sent over descriptor 3
  --version, -V         print the version
  --help, -h            print this help

SPEC is SIGNAL[,script=NAME|PATH][,monitorcommand=COMMAND][,timeout=SECONDS]
[,default=quit|kill|none]; write ,, for a comma within a value

  qemu-trap -- qemu-system-x86_64 -name web -m 2G disk.qcow2
  qemu-trap --signal SIGHUP,script=reset -- qemu-system-x86_64 ...

Exit status, the first that applies:
  125    wrong usage; or the hook start failed; or a QEMU that qemu-trap had
         taken over exited without giving a reason
  126    QEMU cannot be executed
  127    QEMU was not found
  137    qemu-trap killed QEMU
  124    qemu-trap told QEMU to quit, and the guest lost power
  128+N  signal N from elsewhere killed QEMU
  QEMU's own, if it is not 0
  123    the guest panicked, or its watchdog expired
  0      everything else
`;
