import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Circumstances, type EndKind, endingOf } from '../../../src/outcome/ending.js';
import { type QemuEvent, noEvidence, withEvent, withRunState } from '../../../src/outcome/evidence.js';
import { exitStatus } from '../../../src/outcome/exit-status.js';
import { describeEnd } from '../../../src/outcome/words.js';

/*
 * How QEMU ended, for every sequence of events up to a length, against the contract read anew: "First match" of the list
 * of ends, and of the table of statuses.
 */

const events: readonly QemuEvent[] = [
  { event: 'SHUTDOWN', reason: 'guest-shutdown', byGuest: true },
  { event: 'SHUTDOWN', reason: 'guest-reset', byGuest: true },
  { event: 'SHUTDOWN', reason: 'host-qmp-quit', byGuest: false },
  { event: 'SHUTDOWN', reason: 'host-qmp-system-reset', byGuest: false },
  { event: 'SHUTDOWN', reason: 'of a later QEMU', byGuest: false },
  { event: 'RESET', byGuest: true },
  { event: 'STOP' },
  { event: 'RESUME' },
  { event: 'GUEST_PANICKED', action: 'pause' },
  { event: 'GUEST_PANICKED', action: 'run' },
  { event: 'WATCHDOG', action: 'poweroff' },
  { event: 'WATCHDOG', action: 'reset' },
  { event: 'WATCHDOG', action: 'none' },
  { event: 'MIGRATION', status: 'completed' },
  { event: 'MIGRATION', status: 'failed' },
];
const longest = Number(process.env['QEMU_TRAP_TEST_DEPTH'] ?? 8) / 2;

type Exit = Pick<Circumstances, 'code' | 'signal'>;
const exits: readonly Exit[] = [
  { code: 0, signal: null },
  { code: 1, signal: null },
  { code: null, signal: 'SIGKILL' },
  { code: null, signal: 'SIGSEGV' },
];
const actions: readonly Circumstances['action'][] = ['none', 'quit', 'kill'];

function lastIndexOf(all: readonly QemuEvent[], is: (each: QemuEvent) => boolean): number {
  const fromEnd = [...all].reverse().findIndex(is);
  return fromEnd === -1 ? -1 : all.length - 1 - fromEnd;
}

/** The events since the guest last ran: RESUME and RESET clear what came before. */
function sinceItRan(all: readonly QemuEvent[]): readonly QemuEvent[] {
  const last = lastIndexOf(all, ({ event }) => event === 'RESUME' || event === 'RESET');
  return all.slice(last + 1);
}

function endByContract(all: readonly QemuEvent[], action: string, exit: Exit, hasState: boolean): EndKind {
  const since = sinceItRan(all);
  const firstShutdown = since.findIndex(({ event }) => event === 'SHUTDOWN');
  const shutdown = since[firstShutdown];
  const reason = shutdown?.event === 'SHUTDOWN' ? shutdown.reason : null;
  if (since.some((each) => each.event === 'GUEST_PANICKED' && each.action !== 'run')) return 'panic';
  const watchdogs = since.slice(0, reason === 'guest-reset' ? firstShutdown : undefined);
  if (since.some((each) => each.event === 'WATCHDOG' && each.action === 'poweroff')) return 'watchdog';
  if (reason === 'guest-reset' && watchdogs.some((each) => each.event === 'WATCHDOG' && each.action === 'reset'))
    return 'watchdog';
  if (reason === 'guest-shutdown' || reason === 'guest-reset') return reason;
  const lastMigration = lastIndexOf(all, (each) => each.event === 'MIGRATION' && each.status === 'completed');
  if (lastMigration > lastIndexOf(all, ({ event }) => event === 'RESUME')) return hasState ? 'saved' : 'migrated';
  if (reason !== null) return 'quit';
  return action === 'kill' && exit.signal === 'SIGKILL' ? 'kill' : 'crash';
}

function statusByContract(end: EndKind, action: string, { code, signal }: Exit): number {
  const isCutOff = ['panic', 'watchdog', 'quit', 'kill', 'crash'].includes(end);
  if (action === 'kill' && signal === 'SIGKILL') return 137;
  if (action === 'quit' && isCutOff) return 124;
  if (signal !== null) return signal === 'SIGKILL' ? 137 : 139;
  if (code !== 0 && code !== null) return code;
  return end === 'panic' || end === 'watchdog' ? 123 : 0;
}

function* sequences(length: number): Generator<readonly QemuEvent[]> {
  yield [];
  if (length === 0) return;
  for (const rest of sequences(length - 1))
    for (const each of events) if (rest.length === length - 1) yield [...rest, each];
  if (length > 1) for (const shorter of sequences(length - 1)) if (shorter.length > 0) yield shorter;
}

test('every sequence of events: end, cut off and status are those of the contract, and the last line says which', (t) => {
  const started = {
    started: true,
    bypassesUs: false,
    waitsForCont: false,
    isStillThere: false,
    button: null,
    overdueHook: null,
  };
  let endings = 0;
  for (const all of sequences(longest)) {
    const evidence = all.reduce(withEvent, withRunState(noEvidence, 'running'));
    for (const action of actions) {
      for (const exit of exits) {
        const cause = action === 'none' ? null : 'deadline';
        const savedState = endings++ % 2 === 0;
        const ending = endingOf({ ...started, ...exit, evidence, action, cause, savedState });
        const after = `${action}, ${JSON.stringify(exit)}, after ${JSON.stringify(all)}`;
        const end = endByContract(all, action, exit, savedState);
        assert.equal(ending.end, end, after);
        assert.equal(ending.cutOff, ['panic', 'watchdog', 'quit', 'kill', 'crash'].includes(end), after);
        assert.equal(exitStatus(ending), statusByContract(end, action, exit), after);
        const line = describeEnd(ending, { signal: null, ms: 1_000, saved: null, status: 0 });
        assert.equal(/cut off/.test(line), ending.cutOff, `${line}: ${after}`);
      }
    }
  }
  t.diagnostic(`${endings} endings`);
});
