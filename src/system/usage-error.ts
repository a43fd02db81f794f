/** The call was wrong, or cannot be served: its message is the one line that says so. Exit status 125 unless named. */
export class UsageError extends Error {
  override readonly name = 'UsageError';

  constructor(
    message: string,
    readonly status: number = 125,
  ) {
    super(message);
  }
}

/** What to do about an error of the system, by its code (errno(3)). */
const advice: Readonly<Record<string, string>> = {
  EMFILE: 'raise the limit on open files (ulimit -n)',
  ENFILE: 'the host has too many open files: raise fs.file-max, or close some',
  ENOMEM: 'free some memory',
  EAGAIN: 'raise the limit on processes (ulimit -u)',
  ENOSPC: 'free some space on that file system',
  EDQUOT: 'free some of the quota on that file system',
  EROFS: 'it is on a read-only file system: name another place',
  EIO: 'the disk is failing: read the kernel log (dmesg)',
};

/** True for what the system itself refused (errno(3)), and no fault of the program's. */
export function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return (
    error instanceof Error &&
    typeof (error as NodeJS.ErrnoException).syscall === 'string' &&
    typeof (error as NodeJS.ErrnoException).code === 'string'
  );
}

/**
 * The one line for what the system refused.
 * @param what what could not be done
 * @param otherwise what to do about it if its code says nothing better
 */
export function refusedBySystem(what: string, error: unknown, otherwise: string): UsageError {
  const code = codeOf(error);
  return new UsageError(`${what} (${code}): ${advice[code] ?? otherwise}`);
}

/** The code of an error of the system; of any other what it says of itself. */
export function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? errorText(error);
}

/** What an error says of itself, whatever was thrown. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
