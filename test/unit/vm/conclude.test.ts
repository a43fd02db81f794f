import assert from 'node:assert/strict';
import { test } from 'node:test';
import { initialState } from '../../../src/dispatch/state.js';
import { noEvidence, withEvent, withRunState } from '../../../src/outcome/evidence.js';
import { exitStatus } from '../../../src/outcome/exit-status.js';
import { concludeRun } from '../../../src/vm/conclude.js';

const told = withEvent(withRunState(noEvidence, 'running'), {
  event: 'SHUTDOWN',
  reason: 'host-qmp-quit',
  byGuest: false,
});
const state = {
  ...initialState({ killAfterMs: 10, pressGaps: [], keepsGaps: false, busyTimeoutMs: null }),
  evidence: told,
  termination: { action: 'quit', cause: 'deadline', killAt: 0, killed: true, abandonAt: 0 },
} as const;
const savedGuest = { isSaving: () => false, isResuming: false, isRefused: false, resumeFailure: null };

test('a QEMU that was told to quit, and quits just as it is killed, was not killed', () => {
  const statusOf = (exit: { code: number | null; signal: NodeJS.Signals | null }): number =>
    exitStatus(
      concludeRun(
        { config: { qemu: [] }, stateFile: null } as unknown as Parameters<typeof concludeRun>[0],
        { qemu: { wasKilled: true, bypassesUs: false }, saved: null } as unknown as Parameters<typeof concludeRun>[1],
        state,
        {
          exit,
          started: true,
          savedGuest: savedGuest as unknown as Parameters<typeof concludeRun>[3]['savedGuest'],
          isStillThere: false,
          exitedAt: 0,
          overdueHook: null,
        },
      ).ending,
    );
  assert.equal(statusOf({ code: 0, signal: null }), 124);
  assert.equal(statusOf({ code: null, signal: 'SIGKILL' }), 137);
});
