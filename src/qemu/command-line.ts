import { shortDigest } from '../digest.js';
import { readOpts } from '../qemu-opts.js';

/*
 * What qemu-trap reads in QEMU's own command line. It changes none of it.
 */

export function isOption(word: string | undefined, name: string): boolean {
  return word === `-${name}` || word === `--${name}`;
}

/** QEMU's `-name NAME`, `-name guest=NAME`; the last one counts, as it does for QEMU. */
function nameOption(qemu: readonly string[]): string | null {
  let name: string | null = null;
  qemu.forEach((word, i) => {
    const value = qemu[i + 1];
    if (!isOption(word, 'name') || value === undefined) return;
    for (const opt of readOpts(value)) if (opt.key === null || opt.key === 'guest') name = opt.value ?? null;
  });
  return name;
}

/** The VM's name: QEMU's own, else one that the same command line has at every start. */
export function vmName(qemu: readonly string[]): string {
  return nameOption(qemu) || `qemu-${shortDigest(qemu.join('\0'))}`;
}

export function daemonizes(qemu: readonly string[]): boolean {
  return qemu.some((word) => isOption(word, 'daemonize'));
}

/** True where the guest, or QEMU's monitor, is on the terminal that qemu-trap has too. */
export function usesTerminal(qemu: readonly string[]): boolean {
  return qemu.some(
    (word, i) =>
      isOption(word, 'nographic') ||
      isOption(word, 'curses') ||
      (['serial', 'monitor', 'qmp', 'chardev', 'parallel', 'debugcon', 'display'].some((name) => isOption(word, name)) && /^(mon:|chardev:)?(stdio|curses)\b/.test(qemu[i + 1] ?? '')),
  );
}

/** The option by which QEMU's own command line says where its guest comes from, or `null`. */
export function guestSource(qemu: readonly string[]): '-incoming' | '-loadvm' | null {
  if (qemu.some((word) => isOption(word, 'incoming'))) return '-incoming';
  return qemu.some((word) => isOption(word, 'loadvm')) ? '-loadvm' : null;
}

/** True where `running`, the words that a process was executed with, is this QEMU command line with qemu-trap's own words after it. */
export function isSameCommand(qemu: readonly string[], running: readonly string[]): boolean {
  return running[qemu.length] === '-readconfig' && qemu.every((word, i) => running[i] === word);
}

/** True where qemu-trap started it to resume a saved guest. */
export function wasToResume(running: readonly string[]): boolean {
  const own = running.slice(running.lastIndexOf('-readconfig'));
  return own.includes('-incoming');
}

/** True where QEMU is to wait for `cont` before its guest runs. */
export function startsPaused(qemu: readonly string[]): boolean {
  return qemu.some((word) => isOption(word, 'S'));
}

/** True where QEMU changes its user after it was started, which clears its parent-death signal (prctl(2)). */
export function changesUser(qemu: readonly string[]): boolean {
  return qemu.some(
    (word, i) =>
      isOption(word, 'runas') ||
      (isOption(word, 'run-with') && readOpts(qemu[i + 1] ?? '').some(({ key }) => key === 'user')),
  );
}

const fdPatterns: readonly RegExp[] = [
  // -netdev tap,fd=3  fds=3:4  vhostfd=5  vhostfds=5:6  -add-fd fd=7,set=1  -chardev socket,fd=8
  /(?:^|[,.])(?:vhost)?fds?=([\d:]+)(?=,|$)/g,
  // The same in QEMU's JSON style: "fd": "3"
  /"(?:vhost)?fds?"\s*:\s*"?([\d:]+)"?/g,
  // -incoming fd:3
  /^fd:(\d+)$/g,
  // -netdev stream,addr.type=fd,addr.str=3
  /(?:^|,)[\w.-]*\bstr=(\d+)(?=,|$)/g,
  // -kernel /dev/fd/63, as a shell's <(...) writes it
  /\/(?:dev|proc\/self)\/fd\/(\d+)(?!\d)/g,
];

/** The file descriptors from 3 up that QEMU's options name, in ascending order. */
export function namedFds(qemu: readonly string[]): number[] {
  const fds = new Set<number>();
  for (const word of qemu.slice(1)) {
    for (const pattern of fdPatterns) {
      for (const match of word.matchAll(pattern)) {
        for (const fd of (match[1] as string).split(':')) if (fd !== '' && Number(fd) >= 3) fds.add(Number(fd));
      }
    }
  }
  return [...fds].sort((a, b) => a - b);
}
