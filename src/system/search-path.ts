import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

export function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The first executable of that name in a $PATH, or `null`. */
export function findInPath(searchPath: string, program: string): string | null {
  return (
    searchPath
      .split(delimiter)
      .map((directory) => join(directory || '.', program))
      .find(isExecutable) ?? null
  );
}
