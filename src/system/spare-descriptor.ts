import { closeSync, openSync } from 'node:fs';

/** Held so that there is one when all others are taken: what a hook has left can only be found through /proc. */
let spare: number | null = null;

/** Sets a descriptor aside. */
export function keepSpareDescriptor(): void {
  try {
    spare ??= openSync('/dev/null', 'r');
  } catch {
    // None to set aside.
  }
}

/** True for want of a descriptor or of memory, which says nothing about what was asked. */
export function isShortage(error: unknown): boolean {
  return ['EMFILE', 'ENFILE', 'ENOMEM'].includes((error as NodeJS.ErrnoException).code ?? '');
}

/** Does what needs one descriptor for as long as it takes, with the spare one if there is no other. */
export function withDescriptor<T>(use: () => T): T {
  try {
    return use();
  } catch (error) {
    if (spare === null || !isShortage(error)) throw error;
    closeSync(spare);
    spare = null;
    try {
      return use();
    } finally {
      keepSpareDescriptor();
    }
  }
}
