import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { runFiles } from './files.js';
import type { RunDir } from './run-dir.js';
import { identify, oldIdentity, readIdentity } from '../system/process-identity.js';

/*
 * Which QEMU runs with a run directory: for scripts, and for the qemu-trap that takes over.
 */

type Files = Pick<RunDir, 'file'>;

/**
 * Before anything is executed: a qemu-trap that finds us killed looks for a QEMU that has no monitor yet.
 * @throws NodeJS.ErrnoException if it cannot be written
 */
export function noteStarting({ file }: Files): void {
  writeFileSync(file(runFiles.starting), '', { mode: 0o600 });
}

/** QEMU may be there, behind a wrapper say, and is not what is noted. */
export function isStarting({ file }: Files): boolean {
  return existsSync(file(runFiles.starting));
}

/** It has been seen which process is QEMU, or that there is none. */
export function noteStarted({ file }: Files): void {
  try {
    rmSync(file(runFiles.starting), { force: true });
  } catch {
    // A file system gone read-only, say: then it is looked for once more than needed.
  }
}

export function noteQemu({ file }: Files, pid: number): void {
  try {
    writeFileSync(file(runFiles.qemu), identify(pid) ?? '', { mode: 0o600 });
    writeFileSync(file(runFiles.qemuPid), `${pid}\n`, { mode: 0o600 });
  } catch {
    // The disk is full, say: then its socket says where it is.
  }
}

/** By pid and start time; `''` if none is noted. */
export function notedQemu({ file }: Files): string {
  return readIdentity(file(runFiles.qemu)) || oldIdentity(readIdentity(file(runFiles.qemuPid)));
}
