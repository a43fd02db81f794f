import { readOpts } from '../qemu/option-syntax.js';
import { changesUser, daemonizes, isOption, unfinishedOption, waitsForConnection } from '../qemu/argv.js';
import { changeUserInstead, isQemu, userChanger, usesTimeout } from '../qemu/wrappers.js';

/** Something in QEMU's command line that an administrator of a service should know of. */
interface Caution {
  /** The words it is about. */
  readonly words: string;
  readonly what: string;
  readonly fix: string;
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
  readonly fix: string;
  readonly isFault: boolean | 'if the button is needed';
}

const rules: readonly Rule[] = [
  {
    find: [
      flag('no-acpi'),
      option(machine, has('acpi', 'off')),
      option(machine, (value) => /^(type=)?isapc(,|$)/.test(value)),
    ],
    what: 'the guest has no ACPI, so it never hears its power button: each shutdown lasts until the deadline, and then cuts the guest off',
    fix: 'leave it out, or shut the guest down another way, such as --signal SIGTERM,script=guest-shutdown with --agent',
    isFault: 'if the button is needed',
  },
  {
    find: [(words) => (daemonizes(words) ? '-daemonize' : null)],
    what: 'qemu-trap must stay the parent of QEMU',
    fix: 'leave it out: your service manager does that job; use --attach for a QEMU that is already running',
    isFault: true,
  },
  {
    find: [(words) => unfinishedOption(['', ...words])],
    what: 'its value is missing, so QEMU would take the next word, which qemu-trap adds',
    fix: 'write the value after the option, or leave the option out',
    isFault: true,
  },
  {
    find: [waitsForConnection],
    what: 'QEMU does not start until a client connects to it: until then there is no monitor, and no signal reaches the guest',
    fix: 'add wait=off',
    isFault: true,
  },
  {
    find: [flag('no-shutdown'), option(['action'], has('shutdown', 'pause'))],
    what: 'QEMU, and so the service, keeps running when the guest powers itself off; on a signal qemu-trap then tells QEMU to quit',
    fix: 'leave it out if the service should stop with its guest',
    isFault: false,
  },
  {
    find: [flag('no-reboot'), option(['action'], has('reboot', 'shutdown'))],
    what: 'QEMU exits with status 0 when the guest reboots: a service manager that restarts only on failure leaves it down',
    fix: 'leave it out, or have the manager always restart it (systemd: Restart=always)',
    isFault: false,
  },
  {
    find: [
      option(serial, (value) => /^mon:stdio\b|\bmux=on\b.*\bstdio\b|\bstdio\b.*\bmux=on\b/.test(value)),
      flag('nographic'),
    ],
    what: 'at a terminal Ctrl-C goes to the guest, not to qemu-trap; Ctrl-A x makes QEMU quit at once, which cuts the guest off',
    fix: 'stop it with a signal (kill -TERM), or use -display none -serial stdio, with which Ctrl-C shuts the guest down',
    isFault: false,
  },
];

const untied: Rule = {
  find: [(words) => (changesUser(words) ? '-runas, -run-with user=' : null)],
  what: 'a QEMU that changes its user keeps running if qemu-trap is killed (SIGKILL), even with --on-death kill',
  fix: 'write --on-death keep, which matches what happens, or start qemu-trap itself as that user',
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
        what: 'it makes QEMU run as a user who cannot read the run directory, so QEMU does not start',
        fix: changeUserInstead,
        isFault: true,
      },
    ];
  }
  if (usesTimeout(qemu)) {
    return [
      {
        words: 'timeout',
        what: 'qemu-trap blocks signals for it too, so it cannot stop QEMU when its time is up',
        fix: 'leave it out, and send qemu-trap the signal: timeout TIME qemu-trap -- QEMU...',
        isFault: true,
      },
    ];
  }
  if (isQemu(command)) return [];
  return [
    {
      words: command,
      what: 'it does not look like a QEMU; if it is a script, it must pass on all of its arguments ("$@"), because qemu-trap adds some at the end',
      fix: 'end it with exec QEMU ... "$@", so that QEMU takes its place',
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
