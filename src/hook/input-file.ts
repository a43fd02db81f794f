import { closeSync, constants, fchmodSync, openSync, unlinkSync, writeSync } from 'node:fs';

/**
 * A file without a name that has `text`, for the stdin of a hook: it is read to its end, and a script may open
 * /dev/stdin by that name, which it could not if it were one of Node's sockets.
 * @param path where it is for a moment
 * @returns its descriptor, to be closed when the hook has been started
 * @throws NodeJS.ErrnoException
 */
export function openInput(path: string, text: string): number {
  const writer = openSync(
    path,
    constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
    0o600,
  );
  try {
    writeSync(writer, text);
    // A script that has changed its user may open /dev/stdin by that name; no other user can reach the file.
    fchmodSync(writer, 0o644);
    return openSync(path, constants.O_RDONLY);
  } finally {
    closeSync(writer);
    unlinkSync(path);
  }
}
