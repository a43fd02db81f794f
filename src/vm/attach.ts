import type { AdoptedQemu } from '../qemu/adopt.js';
import { runFiles } from '../run-dir/files.js';
import { noteQemu } from '../run-dir/noted-qemu.js';
import type { Adoption, VmContext } from './context.js';
import { checkCall, checkState } from './preflight.js';
import { leftoverHooksGone, refuseForeignRunDir } from './takeover.js';
import { Service } from './service.js';
import { prepare } from './workspace.js';

/**
 * Stands in for a QEMU that runs already, to its end.
 * @returns the exit status
 * @throws {UsageError} before it is served
 */
export async function attach(context: VmContext, qemu: AdoptedQemu): Promise<number> {
  const { config, vm } = context;
  const ready = checkCall(config, process.env);
  const isStateTrusted = checkState(config, process.env) === null;
  const { runDir, monitors } = prepare(config, vm, ready, [], process.env);
  refuseForeignRunDir(runDir, config.attach ?? '', qemu.pid);
  // First, for what says where they are goes with the rest.
  const cleared = leftoverHooksGone(runDir);
  // A guest that a hook of a killed one has frozen is still to be thawed.
  runDir.clear(runFiles.frozen);
  // So that no other is started in its place.
  noteQemu(runDir, qemu.pid);
  const adoption: Adoption = { ageMs: qemu.ageMs, isOther: false, sharesMonitor: true, cleared };
  const premises = { runDir, stateFile: null, ready, leftoverHooksGone: cleared, isStateTrusted };
  const service = new Service(context, premises);
  // What it leaves is nothing that the next one would need: that one attaches anew.
  const { ending } = await service.serve({ qemu, monitors, runDir, saved: null, incoming: [], adoption }, false);
  return service.conclude(ending);
}
