import { type Option, options } from './table.js';

/** Where the meanings begin, and where a line of a terminal ends. */
const [indent, width] = [24, 79];

/** `text` in lines that fit beside the names. */
function wrapped(text: string): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    const longer = line === '' ? word : `${line} ${word}`;
    if (line !== '' && indent + longer.length > width) {
      lines.push(line);
      line = word;
    } else line = longer;
  }
  return [...lines, line];
}

function describeOption({ name, short, argument, help }: Option): string {
  const words = `  --${name}${argument === undefined ? '' : ` ${argument}`}${short === undefined ? '' : `, -${short}`}`;
  const meaning = wrapped(help);
  const isBeside = words.length + 2 <= indent;
  const first = isBeside ? `${words.padEnd(indent)}${meaning.shift()}` : words;
  return [first, ...meaning.map((line) => ' '.repeat(indent) + line)].join('\n');
}

/** What `--help` prints. */
export const usage = `Usage: qemu-trap [OPTION...] [--] QEMU [QEMU-OPTION...]
       qemu-trap --check [OPTION...] [-- QEMU...]
       qemu-trap --attach SOCKET [OPTION...]
       qemu-trap --status [NAME...] [--alert] [--log text|json|prometheus]
       qemu-trap --stop NAME... | --stop --all
       qemu-trap --new-hook SIGNAL|EVENT|start|ready|end [--hooks DIR]
       qemu-trap --try SIGNAL|EVENT|start|ready|end [OPTION...] [-- QEMU...]
       qemu-trap --drop-in on|divert|off [--force]

Runs QEMU as a service. On SIGTERM, SIGINT, SIGHUP and SIGPWR it presses the
guest's power button (ACPI) and waits for the guest to shut down. On any signal
it can run a hook of yours, with a socket to QEMU's QMP monitor as file
descriptor 3.

${options.map(describeOption).join('\n')}

SPEC is SIGNAL[,script=NAME|PATH][,monitorcommand=COMMAND]
[,timeout=TIME|infinity][,default=quit|kill|none]; write ,, for a comma within a
value

TIME is seconds, such as 60 or 0.5, or a span of time, such as 5min or 1h30min

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
