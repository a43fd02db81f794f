import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * Creates what leads to `path`, one by one: Node's own way (`recursive`) does not say what it had made when it fails,
 * and calls a read-only file system a missing directory.
 * @param made is told of each directory that was created
 */
export function createParents(path: string, mode: number, made: (directory: string) => void = () => undefined): void {
  const parent = dirname(path);
  const create = (): void => {
    mkdirSync(parent, { mode });
    made(parent);
  };
  try {
    create();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return;
    if (code !== 'ENOENT') throw error;
    createParents(parent, mode, made);
    create();
  }
}
