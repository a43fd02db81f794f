import { rmSync } from 'node:fs';
import { runFiles } from '../run-dir/files.js';
import { noteQemu, noteStarted } from '../run-dir/noted-qemu.js';
import type { RunContext, RunningQemu } from './context.js';

/** Sees which process is QEMU, once its monitor has answered: a wrapper in front of it may be what was started. */
export function locateQemu({ config, log }: RunContext, { qemu, runDir, adoption }: RunningQemu): void {
  const started = qemu.pid;
  if (!qemu.locate()) {
    log({
      event: 'qemu-unknown',
      level: 'warning',
      message: `cannot tell which process is QEMU (/proc does not show it to this user); a SIGKILL would go to the process that was started (pid ${started}) and may miss QEMU`,
      facts: { pid: started },
    });
  }
  if (qemu.pid !== started || adoption !== null) {
    noteQemu(runDir, qemu.pid);
    // A wrapper that starts QEMU once more finds no monitors to make.
    rmSync(runDir.file(runFiles.monitorsConfig), { force: true });
  }
  noteStarted(runDir);
  if (adoption !== null || config.onDeath === 'keep' || runDir.leaves || qemu.isTied) return;
  runDir.leaves = true;
  const why =
    qemu.pid === started
      ? 'it has privileges that qemu-trap does not have, so the kernel does not tie it to qemu-trap'
      : `a wrapper (pid ${started}) runs QEMU (pid ${qemu.pid}): have the wrapper exec QEMU`;
  log({
    event: 'no-pdeathsig',
    level: 'warning',
    message: `QEMU may keep running if qemu-trap is killed (SIGKILL), as with --on-death keep: ${why}`,
    facts: { pid: qemu.pid },
  });
}
