import { O_PATH } from '../system/descriptors.js';
import {
  accessSync,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  realpathSync,
  statSync,
  type Stats,
} from 'node:fs';
import { basename, dirname } from 'node:path';
import { nearest } from '../system/near-miss.js';
import { bundledHooks } from './find.js';
import { isShortage } from '../system/spare-descriptor.js';
import { findWayFault, openToOthers, openToReplacing, shellQuote, type Fault } from '../system/permissions.js';

type TrustResult = { readonly trusted: true } | ({ readonly trusted: false } & Fault);

function kindOf(stats: Stats): string {
  if (stats.isDirectory()) return 'a directory';
  if (stats.isFIFO()) return 'a named pipe';
  if (stats.isSocket()) return 'a socket';
  return 'a device';
}

function missing(path: string): Fault {
  try {
    if (lstatSync(path).isSymbolicLink()) {
      return { what: 'it is a link to a file that does not exist', fix: `ln -sfn HOOK ${shellQuote(path)}` };
    }
  } catch {
    // Not even a link.
  }
  return { what: 'there is no such file', fix: `cp HOOK ${shellQuote(path)}` };
}

function missingOfOurs(name: string): Fault {
  if (bundledHooks.includes(name)) return { what: 'it came with qemu-trap, and is gone', fix: 'reinstall qemu-trap' };
  const meant = nearest(name, bundledHooks);
  return {
    what: `no hook is called ${name}${meant === null ? '' : `; ${meant} is probably meant`}`,
    fix: meant === null ? `write a path, or one of ${bundledHooks.join(', ')}` : `script=${meant}`,
  };
}

/**
 * Why access(2) says to the user `euid` that it cannot be executed.
 * @param stats its owner and mode
 */
export function notExecutable(
  path: string,
  { uid, mode }: Pick<Stats, 'uid' | 'mode'>,
  euid: number | undefined,
): Fault {
  if ((mode & 0o111) === 0) return { what: 'it is not executable', fix: `chmod 755 ${shellQuote(path)}` };
  const isForUs = uid === euid ? mode & 0o100 : mode & 0o011;
  if (euid === 0 || isForUs !== 0)
    return {
      what: 'it is on a file system that is mounted noexec',
      fix: `mount -o remount,exec "$(findmnt -n -o TARGET -T ${shellQuote(path)})"`,
    };
  return { what: 'it is not executable by the user qemu-trap runs as', fix: `chmod 755 ${shellQuote(path)}` };
}

/** Whether the steps in the directory `path` may run at all: neither it nor what it lies in is open to others. */
export function findDirectoryFault(path: string): Fault | null {
  try {
    const real = realpathSync(path);
    return (
      [...new Set([path, real, dirname(path), dirname(real)])]
        .map((directory) => openToOthers(directory, statSync(directory), `the directory ${directory}`))
        .find((each) => each !== null) ?? null
    );
  } catch (error) {
    return {
      what: `it cannot be checked (${(error as NodeJS.ErrnoException).code ?? error})`,
      fix: `ls -ldL ${shellQuote(path)}`,
    };
  }
}

/**
 * Whether the hook at `path` may run: a regular file (links followed), not empty, executable, owned by root or the
 * running user, neither it nor its directory open to others, and no step of the way to it in the hands of others. So
 * what is executed is what was checked, or what a user who is trusted has put in its place since.
 * @param ours the file comes with qemu-trap: who could change it could change qemu-trap, so its owner and mode
 *   decide nothing
 */
export function checkTrust(path: string, ours: boolean): TrustResult {
  const distrust = (fault: Fault): TrustResult => ({ trusted: false, ...fault });
  let fd: number;
  try {
    fd = openSync(path, O_PATH);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return distrust(ours ? missingOfOurs(basename(path)) : missing(path));
    const fix = isShortage(error) ? 'raise the limit on open files (ulimit -n)' : `ls -lL ${shellQuote(path)}`;
    return distrust({ what: `it cannot be opened (${code})`, fix });
  }
  try {
    const stats = fstatSync(fd);
    if (!stats.isFile()) {
      return distrust({
        what: `it is ${kindOf(stats)}, not a file`,
        // A device may be /dev/null, which is to stay where it is.
        fix:
          stats.isCharacterDevice() || stats.isBlockDevice()
            ? `ls -lL ${shellQuote(path)}`
            : `mv ${shellQuote(path)} ${shellQuote(`${path}.old`)}`,
      });
    }
    if (stats.size === 0)
      return distrust({ what: 'it is empty, so it would do nothing', fix: `rm ${shellQuote(path)}` });
    try {
      accessSync(path, constants.X_OK);
    } catch {
      return distrust(notExecutable(path, stats, process.geteuid?.()));
    }
    if (!ours) {
      const real = realpathSync.native(path);
      const fault =
        openToOthers(real, stats, 'it') ??
        [...new Set([dirname(path), dirname(real)])]
          .map((directory) => openToReplacing(directory, statSync(directory), `its directory ${directory}`))
          .find((each) => each !== null) ??
        // A link to it counts as well: its owner could lead it elsewhere after the check.
        findWayFault(path);
      if (fault) return distrust(fault);
    }
    return { trusted: true };
  } catch (error) {
    return distrust({
      what: `it cannot be checked (${(error as NodeJS.ErrnoException).code ?? error})`,
      fix: `ls -lL ${shellQuote(path)}`,
    });
  } finally {
    closeSync(fd);
  }
}
