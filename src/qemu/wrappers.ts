import { basename } from 'node:path';

/*
 * What is known of programs that people put in front of QEMU. What such a one does is seen by what comes of it; this
 * is for advice only.
 */

/** True for the name of a QEMU that runs a machine. */
export function isQemu(command: string): boolean {
  return /^(qemu-system-.+|qemu-kvm|kvm)$/.test(basename(command));
}

/** The words before QEMU's own name; all of them if that is not among them. */
function wordsBefore(qemu: readonly string[]): readonly string[] {
  const at = qemu.findIndex(isQemu);
  return at === -1 ? qemu : qemu.slice(0, at);
}

const changingUser = [
  'runuser',
  'su',
  'chpst',
  'setuidgid',
  's6-setuidgid',
  'envuidgid',
  's6-envuidgid',
  'gosu',
  'su-exec',
  'doas',
  'sudo',
  'setpriv',
  'capsh',
  'start-stop-daemon',
];
/** Of those that do other things as well: what makes them change the user. */
const onlyWith: Readonly<Record<string, RegExp>> = {
  sudo: /^(-u|--user)/,
  chpst: /^-u/,
  setpriv: /^--(re|ru|eu|in)id|^--reuid/,
  capsh: /^--(user|uid)=/,
  'start-stop-daemon': /^(-c|--chuid)/,
  runuser: /^(-u|--user|-$|-l|[a-z_])/,
};

/** The word that makes QEMU another user's process, which cannot reach our run directory; `null` if there is none. */
export function userChanger(qemu: readonly string[]): string | null {
  const words = wordsBefore(qemu);
  const found = words.find((word, i) => {
    const name = basename(word);
    return (
      changingUser.includes(name) &&
      (onlyWith[name] === undefined || words.slice(i + 1).some((option) => onlyWith[name]?.test(option)))
    );
  });
  return found === undefined ? null : basename(found);
}

/** True if timeout(1) stands in front of QEMU. */
export function usesTimeout(qemu: readonly string[]): boolean {
  return wordsBefore(qemu).some((word) => basename(word) === 'timeout');
}

/** What to do instead of {@link userChanger}. */
export const changeUserInstead =
  'have QEMU change its user itself (-runas USER), or start qemu-trap as that user (User= of systemd, or the same wrapper in front of qemu-trap)';
