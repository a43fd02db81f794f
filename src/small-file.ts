import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';

/**
 * What a file says that may be somebody else's: no link is followed, no pipe waited for, and none read that is longer
 * than `longestBytes`.
 * @returns `null` where there is none such
 */
export function readSmallFile(path: string, longestBytes: number): string | null {
  try {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const stats = fstatSync(fd);
      return stats.isFile() && stats.size <= longestBytes ? readFileSync(fd, 'utf8') : null;
    } finally {
      closeSync(fd);
    }
  } catch {
    return null;
  }
}
