import { readdirSync } from 'node:fs';
import { flagsOf } from '../system/descriptors.js';
import { descriptorTarget } from '../system/processes.js';
import { spawn } from '../system/spawn.js';

/*
 * libuv carries signals to its loop through a pipe of the usual 64 KiB: 4,096 signals. What comes while it is full is
 * dropped, be it a SIGTERM (uv__signal_handler of libuv). Node has no call for a larger one; others may set it.
 */

/** The most that a process without privileges may ask for (/proc/sys/fs/pipe-max-size): 65,536 signals. */
const bytes = 2 ** 20;

const O_NONBLOCK = 0o4000;

/** None where no descriptor is left to list them with. */
function list(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/** Descriptors of pipes that have both ends in this process and block at neither: libuv's for signals is one. */
function ownPipes(): string[] {
  const ends = new Map<string, string[]>();
  for (const fd of list('/proc/self/fd')) {
    try {
      const pipe = descriptorTarget('self', fd);
      if (pipe.startsWith('pipe:') && flagsOf(Number(fd)) & O_NONBLOCK) ends.set(pipe, [...(ends.get(pipe) ?? []), fd]);
    } catch {
      // The descriptor of the listing itself.
    }
  }
  return [...ends.values()].flatMap(([first, second]) => (first !== undefined && second !== undefined ? [first] : []));
}

/** Who can do it: pipesz(1) of util-linux 2.39, else Perl, which every Debian has. F_SETPIPE_SZ is 1031 (fcntl(2)). */
const helpers: readonly ((paths: readonly string[]) => [string, string[]])[] = [
  (paths) => ['pipesz', ['--set', String(bytes), ...paths.flatMap((path) => ['--file', path])]],
  (paths) => ['perl', ['-e', `foreach (@ARGV) { open(P, "+<", $_) and fcntl(P, 1031, ${bytes}) }`, ...paths]],
];

/** Makes room for a storm of signals, so that a SIGTERM in its middle is not lost. Where nothing can do it, 4,096 have room. */
export function widenSignalPipe(): void {
  const paths = ownPipes().map((fd) => `/proc/${process.pid}/fd/${fd}`);
  const attempt = (index: number): void => {
    const helper = helpers[index];
    if (helper === undefined || paths.length === 0) return;
    const [command, args] = helper(paths);
    const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'ignore'] });
    let tried = false;
    const next = (): void => {
      if (tried) return;
      tried = true;
      attempt(index + 1);
    };
    child.on('error', next);
    child.on('exit', (code) => {
      if (code !== 0) next();
    });
  };
  attempt(0);
}
