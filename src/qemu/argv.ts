import { shortDigest } from '../system/short-hash.js';
import { readOpts } from './option-syntax.js';

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

/** True if QEMU's command line names its VM. */
export function isNamed(qemu: readonly string[]): boolean {
  return Boolean(nameOption(qemu));
}

/** The VM's name: QEMU's own, else one that the same command line has at every start. */
export function vmName(qemu: readonly string[]): string {
  return nameOption(qemu) || `qemu-${shortDigest(qemu.join('\0'))}`;
}

/** True for a name that {@link vmName} has made, and for that of a second VM of the same name. */
export function isDefaultName(name: string): boolean {
  return /^qemu-[0-9a-f]{8}(-\d+)?$/.test(name);
}

export function daemonizes(qemu: readonly string[]): boolean {
  return qemu.some((word) => isOption(word, 'daemonize'));
}

/** What a machine option may say instead of a machine: there is none, for a call that only asks QEMU something. */
function isNoMachine(value: string): boolean {
  return readOpts(value).some(({ key, value: type }) => (key === null || key === 'type') && type === 'none');
}

/** Options whose value may be a wish for help, and is no text for the guest. */
const helping = `
  accel audio audiodev chardev cpu d device display drive L M machine net netdev nic object soundhw tpmdev trace vga watchdog
`
  .trim()
  .split(/\s+/);

/** True if QEMU is called for what it says, or does, without a guest: `-version`, `-device help`, `-machine none`. */
export function startsNoGuest(qemu: readonly string[]): boolean {
  return qemu.some((word, i) => {
    if (['h', 'help', 'version', 'dump-vmstate'].some((name) => isOption(word, name))) return true;
    const before = qemu[i - 1] ?? '';
    if (!helping.some((name) => isOption(before, name))) return false;
    if ((isOption(before, 'machine') || isOption(before, 'M')) && isNoMachine(word)) return true;
    // As is_help_option and has_help_option of QEMU's util/qemu-option.c have it.
    return /(^|,)(help|\?)(,|$)/.test(word);
  });
}

/** The file into which QEMU writes its pid; `null`: none. */
export function pidFile(qemu: readonly string[]): string | null {
  const files = qemu.filter((_, i) => isOption(qemu[i - 1], 'pidfile'));
  return files.at(-1) ?? null;
}

/** True if the guest, or QEMU's monitor, is on the terminal that qemu-trap has too. */
export function usesTerminal(qemu: readonly string[]): boolean {
  return qemu.some(
    (word, i) =>
      isOption(word, 'nographic') ||
      isOption(word, 'curses') ||
      (['serial', 'monitor', 'qmp', 'chardev', 'parallel', 'debugcon', 'display'].some((name) =>
        isOption(word, name),
      ) &&
        /^(mon:|chardev:)?(stdio|curses)\b/.test(qemu[i + 1] ?? '')),
  );
}

/** The option by which QEMU's own command line says where its guest comes from, or `null`. */
export function guestSource(qemu: readonly string[]): '-incoming' | '-loadvm' | null {
  if (qemu.some((word) => isOption(word, 'incoming'))) return '-incoming';
  return qemu.some((word) => isOption(word, 'loadvm')) ? '-loadvm' : null;
}

/** True if `running`, the words that a process was executed with, is this QEMU command line with qemu-trap's own words after it. */
export function isSameCommand(qemu: readonly string[], running: readonly string[]): boolean {
  // Without the words of wrappers in front of it.
  const own = running.slice(0, Math.max(0, running.lastIndexOf('-readconfig')));
  return (
    own.length > 0 && own.length <= qemu.length && own.every((word, i) => word === qemu[qemu.length - own.length + i])
  );
}

/** True if qemu-trap started it to resume a saved guest. */
export function wasToResume(running: readonly string[]): boolean {
  const own = running.slice(running.lastIndexOf('-readconfig'));
  return own.includes('-incoming');
}

/** True if QEMU is to wait for `cont` before its guest runs. */
export function startsPaused(qemu: readonly string[]): boolean {
  return qemu.some((word) => isOption(word, 'S'));
}

/** Options of QEMU that take a value, by qemu(1) of versions 7.2 to 11. */
const withValue = `
  accel acpitable action add-fd append audio audiodev bios blockdev boot cdrom chardev chroot compat cpu D d
  debugcon device dfilter display drive dtb dump-vmstate echr fda fsdev fw_cfg g gdb global hda hdb hdc hdd
  icount incoming initrd iscsi k kernel L loadvm M m machine mem-path mon monitor msg mtdblock name net netdev
  nic numa object option-rom overcommit parallel pflash pidfile plugin prom-env qmp qmp-pretty readconfig
  rotate rtc run-with runas sandbox sd seed semihosting-config serial set shim smbios smp soundhw spice tb-size
  tpmdev trace usbdevice uuid vga virtfs vnc watchdog watchdog-action writeconfig xen-domid
`
  .trim()
  .split(/\s+/);

/** Whether the word after this one is its value, as far as it is known. */
export function takesValue(word: string): boolean {
  return withValue.some((name) => isOption(word, name));
}

/** The last word, if it is an option whose value is missing: QEMU would take the word after it for that, which is ours. */
export function unfinishedOption(qemu: readonly string[]): string | null {
  const last = qemu.length > 1 ? qemu.at(-1) : undefined;
  const before = qemu.at(-2);
  // What looks like an option may be a value.
  if (before !== undefined && takesValue(before)) return null;
  return last !== undefined && takesValue(last) ? last : null;
}

/** Options whose value may be a socket that QEMU serves. */
const serving = ['chardev', 'serial', 'parallel', 'monitor', 'qmp', 'qmp-pretty', 'debugcon', 'gdb'];

/** The socket that QEMU will not start without a client on: a `server` without `wait=off`, which waits by default; `null` if there is none. */
export function waitsForConnection(qemu: readonly string[]): string | null {
  const at = qemu.findIndex((word, i) => {
    if (!serving.some((name) => isOption(word, name))) return false;
    const opts = readOpts(qemu[i + 1] ?? '');
    const isOn = (key: string): boolean => opts.some((opt) => opt.key === key && (opt.value ?? 'on') === 'on');
    const isOff = opts.some(({ key, value }) => (key === 'wait' && value === 'off') || key === 'nowait');
    return isOn('server') && !isOff;
  });
  return at === -1 ? null : `${qemu[at]} ${qemu[at + 1]}`;
}

/** True if QEMU changes its user after it was started, which clears its parent-death signal (prctl(2)). */
export function changesUser(qemu: readonly string[]): boolean {
  return qemu.some(
    (word, i) =>
      isOption(word, 'runas') ||
      (isOption(word, 'run-with') && readOpts(qemu[i + 1] ?? '').some(({ key }) => key === 'user')),
  );
}
