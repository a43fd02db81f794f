import { lstatSync, statSync } from 'node:fs';

/** True for anything at `path`, a dangling link included: who put it there meant something by it. */
export function isThere(path: string): boolean {
  try {
    // If most are not there, an exception for each would take longer than all the rest of a look-up.
    return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch {
    return false;
  }
}

/** True for a directory, and for a link to one. */
export function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}
