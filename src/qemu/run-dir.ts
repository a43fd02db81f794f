import { createHash } from 'node:crypto';
import { chmodSync, linkSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmdirSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { longestSocketPath } from '../socket-path.js';
import { UsageError } from '../usage-error.js';

const lockName = 'lock';
const longestDefaultName = 60;

/** The VM's own directory for sockets and state; only one qemu-trap serves it at a time. */
export interface RunDir {
  readonly path: string;
  /** The path of a file in it, which {@link RunDir.remove} will remove. */
  file(name: string): string;
  /** Removes what was put there, and the directory where nothing else is in it. Never throws. */
  remove(): void;
}

interface Place {
  readonly path: string;
  /** The folder of all VMs, which goes with the last one. */
  readonly parent: string | null;
  readonly made: boolean;
}

/** A VM's name as a file's: short enough for a socket's path, and never a path of its own. */
export function asFileName(vm: string): string {
  const plain = vm.replaceAll(/[^A-Za-z0-9._-]/g, '_').replace(/^\./, '_');
  if (plain === vm && vm.length <= longestDefaultName) return vm;
  return `${plain.slice(0, longestDefaultName - 9)}-${createHash('sha256').update(vm).digest('hex').slice(0, 8)}`;
}

function makeTemporary(): string {
  try {
    return mkdtempSync(join(tmpdir(), 'qemu-trap-'));
  } catch (error) {
    throw new UsageError(`run directory: none can be created in ${tmpdir()} (${(error as NodeJS.ErrnoException).code}): name one with --run-dir`);
  }
}

function choose(asked: string | null, vm: string, env: NodeJS.ProcessEnv): Place {
  if (asked !== null) return { path: resolve(asked), parent: null, made: false };
  const runtime = env['XDG_RUNTIME_DIR'];
  const base = process.geteuid?.() === 0 ? '/run' : runtime?.startsWith('/') ? runtime : null;
  if (base === null) return { path: makeTemporary(), parent: null, made: true };
  const parent = join(base, 'qemu-trap');
  return { path: join(parent, asFileName(vm)), parent, made: false };
}

function check(path: string, names: readonly string[]): void {
  for (const name of names) {
    const length = Buffer.byteLength(join(path, name));
    if (length > longestSocketPath) {
      throw new UsageError(
        `run directory ${path}: its sockets' paths would have ${length} bytes, and a unix socket holds ${longestSocketPath}: name a shorter one with --run-dir`,
      );
    }
  }
  if (/["\n\r]/.test(path)) {
    throw new UsageError(`run directory ${path}: QEMU cannot read a path with a double quote or a line feed: name another with --run-dir`);
  }
}

/** Creates the directory, or takes an existing one that nobody else can reach. */
function open(path: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    try {
      mkdirSync(path, { mode: 0o700 });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
        // Its parent went with the last VM that used it, just now.
        mkdirSync(path, { recursive: true, mode: 0o700 });
      } else if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  } catch (error) {
    throw new UsageError(`run directory ${path}: cannot be created (${(error as NodeJS.ErrnoException).code}): name another with --run-dir`);
  }
  const stats = lstatSync(path);
  if (!stats.isDirectory()) throw new UsageError(`run directory ${path}: is no directory: name another with --run-dir`);
  if (stats.uid !== process.geteuid?.()) {
    throw new UsageError(`run directory ${path}: belongs to user ${stats.uid}: name one of your own with --run-dir`);
  }
  if (stats.mode & 0o002) {
    throw new UsageError(`run directory ${path}: can be written by everybody: name one of the VM's own with --run-dir`);
  }
  // Whatever the umask has left of it.
  if ((stats.mode & 0o777) !== 0o700) chmodSync(path, 0o700);
}

/** A process and its start time (field 22 of /proc/PID/stat), so that a pid used anew is not taken for the old one. */
function identify(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? null : `${pid} ${fields[19]}`;
  } catch {
    return null;
  }
}

/** Takes the lock of the directory. A lock whose holder has gone is taken over. */
function lock(directory: string): void {
  const path = join(directory, lockName);
  const mine = join(directory, `${lockName}.${process.pid}`);
  writeFileSync(mine, identify(process.pid) ?? '', { mode: 0o600 });
  try {
    for (let attempt = 0; attempt < 10; attempt++) {
      try {
        linkSync(mine, path);
        return;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
      let holder: string;
      try {
        holder = readFileSync(path, 'utf8');
      } catch {
        continue;
      }
      const pid = Number(holder.split(' ')[0]);
      if (identify(pid) === holder) {
        throw new UsageError(`run directory ${directory}: served by another qemu-trap already (pid ${pid}): stop that one, or name another directory with --run-dir or --name`);
      }
      // Moved aside, and looked at again: another newcomer may have taken it over meanwhile.
      const aside = `${mine}.stale`;
      try {
        renameSync(path, aside);
        if (readFileSync(aside, 'utf8') !== holder) linkSync(aside, path);
        unlinkSync(aside);
      } catch {
        continue;
      }
    }
    throw new UsageError(`run directory ${directory}: its lock changes hands: try again`);
  } finally {
    unlinkSync(mine);
  }
}

function quietly(remove: () => void): void {
  try {
    remove();
  } catch {
    // Gone already, or not empty: no reason to fail at the end.
  }
}

/**
 * Makes the run directory ready and takes its lock.
 * @param socketNames every socket that will lie in it, so that a path too long is found now and not by QEMU
 * @throws {UsageError} where it cannot serve, or another qemu-trap serves it
 */
export function openRunDir(asked: string | null, vm: string, env: NodeJS.ProcessEnv, socketNames: readonly string[]): RunDir {
  const place = choose(asked, vm, env);
  const { path, parent } = place;
  const names = new Set<string>([lockName, ...socketNames]);
  try {
    check(path, socketNames);
    open(path);
    lock(path);
  } catch (error) {
    if (place.made) quietly(() => rmdirSync(path));
    throw error instanceof UsageError
      ? error
      : new UsageError(`run directory ${path}: cannot be used (${(error as NodeJS.ErrnoException).code}): name another with --run-dir`);
  }
  return {
    path,
    file: (name) => {
      names.add(name);
      return join(path, name);
    },
    remove: () => {
      for (const name of names) quietly(() => unlinkSync(join(path, name)));
      quietly(() => rmdirSync(path));
      if (parent !== null) quietly(() => rmdirSync(parent));
    },
  };
}
