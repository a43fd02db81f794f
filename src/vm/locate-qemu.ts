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
      message: `which process is QEMU cannot be told (/proc does not show it to this user): SIGKILL, where QEMU does not end otherwise, goes to what was started (pid ${started})`,
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
      ? 'it has rights that we have not, which unties the two'
      : `a wrapper stands in front of it (pid ${started}; QEMU is ${qemu.pid}): have it exec QEMU`;
  log({
    event: 'no-pdeathsig',
    level: 'warning',
    message: `QEMU may outlive a SIGKILL of qemu-trap, as with --on-death keep: ${why}`,
    facts: { pid: qemu.pid },
  });
}
