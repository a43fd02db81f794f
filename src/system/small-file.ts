import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';

/**
 * What a file says that may be another user's: no link is followed, no pipe waited for, and no more than `longestBytes`
 * read.
 * @returns `null` if there is none such
 */
export function readSmallFile(path: string, longestBytes: number): string | null {
  try {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      if (!fstatSync(fd).isFile()) return null;
      const bytes = Buffer.alloc(longestBytes + 1);
      let length = 0;
      for (let got = -1; got !== 0 && length < bytes.length; length += got)
        got = readSync(fd, bytes, length, bytes.length - length, null);
      return length > longestBytes ? null : bytes.toString('utf8', 0, length);
    } finally {
      closeSync(fd);
    }
  } catch {
    return null;
  }
}

/**
 * The first bytes of a file, links followed; no pipe is waited for.
 * @returns `null` if it cannot be read
 */
export function readHead(path: string, bytes: number): Buffer | null {
  try {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const head = Buffer.alloc(bytes);
      return head.subarray(0, readSync(fd, head));
    } finally {
      closeSync(fd);
    }
  } catch {
    return null;
  }
}
