import { readOpts } from '../qemu/option-syntax.js';
import { changesUser, daemonizes, isOption, unfinishedOption, waitsForConnection } from '../qemu/argv.js';
import { changeUserInstead, isQemu, userChanger, usesTimeout } from '../qemu/wrappers.js';

/** Something in QEMU's command line that an administrator of a service should know of. */
interface Caution {
  /** The words it is about. */
  readonly words: string;
  readonly what: string;
  readonly mend: string;
  /** It costs a clean stop, or any start. */
  readonly isFault: boolean;
}

type Find = (words: readonly string[]) => string | null;

/** `-NAME`, alone. */
const flag =
  (name: string): Find =>
  (words) =>
    words.some((word) => isOption(word, name)) ? `-${name}` : null;

/** `-NAME ...` with a value of which `suits` is true. */
const option =
  (names: readonly string[], suits: (value: string) => boolean): Find =>
  (words) => {
    const at = words.findIndex((word, i) => names.some((name) => isOption(word, name)) && suits(words[i + 1] ?? ''));
    return at === -1 ? null : `${words[at]} ${words[at + 1]}`;
  };

const has =
  (key: string, value: string) =>
  (text: string): boolean =>
    readOpts(text).some((opt) => opt.key === key && opt.value === value);

const machine = ['machine', 'M'];
const serial = ['serial', 'monitor', 'qmp', 'chardev'];

interface Rule {
  readonly find: readonly Find[];
  readonly what: string;
  readonly mend: string;
  readonly isFault: boolean | 'where the button is needed';
}

const rules: readonly Rule[] = [
  {
    find: [
      flag('no-acpi'),
      option(machine, has('acpi', 'off')),
      option(machine, (value) => /^(type=)?isapc(,|$)/.test(value)),
    ],
    what: 'the guest has no ACPI, and never hears its power button: each shutdown takes until the deadline, and cuts it off',
    mend: 'leave it out, or shut the guest down in another way, such as --signal SIGTERM,script=guest-shutdown with --agent',
    isFault: 'where the button is needed',
  },
  {
    find: [(words) => (daemonizes(words) ? '-daemonize' : null)],
    what: 'qemu-trap must stay the parent of QEMU',
    mend: 'leave it out: your service manager does its work; a QEMU that runs already is served with --attach',
    isFault: true,
  },
  {
    find: [(words) => unfinishedOption(['', ...words])],
    what: 'its value is missing, and QEMU would take the word after it, which is ours',
    mend: 'write its value after it, or leave the option out',
    isFault: true,
  },
  {
    find: [waitsForConnection],
    what: 'QEMU does not start until somebody connects to it: until then there is no monitor, and no signal reaches the guest',
    mend: 'add wait=off',
    isFault: true,
  },
  {
    find: [flag('no-shutdown'), option(['action'], has('shutdown', 'pause'))],
    what: 'a guest that powers off by itself leaves QEMU standing, and the service with it; on a signal qemu-trap tells QEMU to quit then',
    mend: 'leave it out, where the service is to end with its guest',
    isFault: false,
  },
  {
    find: [flag('no-reboot'), option(['action'], has('reboot', 'shutdown'))],
    what: 'a guest that reboots ends QEMU, with status 0: a service manager that restarts on failure only leaves it down',
    mend: 'leave it out, or have the manager restart always (systemd: Restart=always)',
    isFault: false,
  },
  {
    find: [
      option(serial, (value) => /^mon:stdio\b|\bmux=on\b.*\bstdio\b|\bstdio\b.*\bmux=on\b/.test(value)),
      flag('nographic'),
    ],
    what: 'at a terminal Ctrl-C goes to the guest, and not to qemu-trap; Ctrl-A x quits QEMU at once, and cuts the guest off',
    mend: 'stop it with a signal (kill -TERM), or use -display none -serial stdio, where Ctrl-C shuts down',
    isFault: false,
  },
];

const untied: Rule = {
  find: [(words) => (changesUser(words) ? '-runas, -run-with user=' : null)],
  what: 'a QEMU that changes its user outlives a qemu-trap that is killed by SIGKILL, whatever --on-death kill says',
  mend: 'write --on-death keep, which says what happens, or start qemu-trap itself as that user',
  isFault: false,
};

/** What stands in front of QEMU. */
function wrapperCautions(qemu: readonly string[]): Caution[] {
  const [command = ''] = qemu;
  const changer = userChanger(qemu);
  if (changer !== null) {
    return [
      {
        words: changer,
        what: 'QEMU becomes the process of a user who cannot read the run directory, and does not start',
        mend: changeUserInstead,
        isFault: true,
      },
    ];
  }
  if (usesTimeout(qemu)) {
    return [
      {
        words: 'timeout',
        what: 'it has its signals blocked as QEMU has, so that its own time never ends QEMU',
        mend: 'leave it out, and send qemu-trap the signal: timeout TIME qemu-trap -- QEMU...',
        isFault: true,
      },
    ];
  }
  if (isQemu(command)) return [];
  return [
    {
      words: command,
      what: 'it is no QEMU by its name; where it is a script it must pass on all of its words ("$@"), for qemu-trap adds some at the end',
      mend: 'end it with exec QEMU ... "$@", so that QEMU takes its place',
      isFault: false,
    },
  ];
}

/**
 * What to know of QEMU's command line.
 * @param onDeath as `--on-death` has it
 * @param needsButton it is the power button by which the guest is shut down
 */
export function cautionsOf(qemu: readonly string[], onDeath: 'kill' | 'keep', needsButton: boolean): Caution[] {
  const words = qemu.slice(1);
  return [
    ...wrapperCautions(qemu),
    ...[...rules, ...(onDeath === 'kill' ? [untied] : [])].flatMap(({ find, isFault, ...caution }) => {
      const found = find.map((each) => each(words)).find((each) => each !== null);
      return found === undefined || found === null
        ? []
        : [{ words: found, ...caution, isFault: isFault === true || (isFault !== false && needsButton) }];
    }),
  ];
}
