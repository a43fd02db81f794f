import { linkSync, renameSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { shortDigest } from '../system/short-hash.js';
import { UsageError } from '../system/usage-error.js';
import { runFiles } from './files.js';
import { identify, isIdentityAlive, readIdentity } from '../system/process-identity.js';

/*
 * A lock by link(2), for a system without flock(1). It tells a holder that is dead by its pid and start time, and so
 * not across pid namespaces.
 */

const lockTries = 100;
const lockEveryMs = 10;

/** link(2), which one caller only can succeed with. */
function linked(file: string, as: string): boolean {
  try {
    linkSync(file, as);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

function quietlyUnlink(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Gone already.
  }
}

/**
 * Takes the lock of the directory. A dead holder's is replaced, by one of those who want it: the one who could make
 * the claim to it, a file named for the dead.
 * @returns the identity of the dead; `''` if there was none
 */
export function takeLinkedLock(directory: string, servedBy: (holder: string) => UsageError): string {
  const path = join(directory, runFiles.lock);
  const mine = `${path}.${process.pid}`;
  try {
    writeFileSync(mine, identify(process.pid) ?? '', { mode: 0o600 });
    for (let attempt = 0; attempt < lockTries; attempt++) {
      if (linked(mine, path)) return '';
      const holder = readIdentity(path);
      if (isIdentityAlive(holder)) throw servedBy(holder);
      const claim = `${path}.after.${shortDigest(holder)}`;
      if (linked(mine, claim)) {
        try {
          // Asked again: who had the claim before may have replaced it, and given the claim up.
          if (readIdentity(path) === holder) {
            renameSync(mine, path);
            return holder;
          }
        } finally {
          quietlyUnlink(claim);
        }
      } else if (!isIdentityAlive(readIdentity(claim))) quietlyUnlink(claim);
      else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, lockEveryMs);
    }
    throw new UsageError(`run directory ${directory}: its lock keeps changing hands: try again`);
  } finally {
    quietlyUnlink(mine);
  }
}
