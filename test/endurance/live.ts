import { guestSays } from '../../src/commands/try/guest.js';
import { isAlive, program, until } from '../support/lab.js';
import { Day, killAfterMs, timeoutMs } from './day.js';
import { inject } from './faults.js';
import { type Complaint, judgeLife, leftovers, type Life, quietly, watchEnd, within } from './life.js';
import type { Fault, Plan, Powers } from './plan.js';

/*
 * One bad day lived through, and judged.
 */

/** For what a loaded machine takes longer; a qemu-trap that has not exited by then hangs. */
const slackMs = 30_000;
const patienceMs = 20_000;

/** What became of a day, in the words of the summary. */
export interface Judgement {
  readonly outcome: string;
  readonly injected: readonly Fault['kind'][];
  readonly pressed: boolean;
  readonly complaints: readonly Complaint[];
  readonly log: string;
}

/**
 * Lives one day, whatever comes.
 * @param lane days that are lived at the same time have a number each
 * @param underTest qemu-trap, or what is to be judged in its place
 */
export async function live(plan: Plan, powers: Powers, lane: number, underTest = program): Promise<Judgement> {
  const day = new Day(plan, powers, lane, underTest);
  const complaints: Complaint[] = [];
  const logs: string[] = [];
  let outcome = '';
  try {
    const trap = day.start(plan.stderr);
    const { ended, isOver } = watchEnd(trap);
    const faultsFrom = (from: Fault['from']): Promise<unknown>[] =>
      plan.faults
        .filter((fault) => fault.from === from)
        .map(async (fault) => {
          await within(fault.after, ended);
          await inject(day, fault, trap);
        });
    const early = faultsFrom('start');
    if (plan.stopAt === 'up')
      await quietly(until('the guest is up', () => isOver() || day.serial.includes(guestSays.up), patienceMs));
    else await within(plan.stopAt, ended);
    if (!isOver()) day.send(trap.pid, plan.stop);
    const late = faultsFrom('stop');
    const end = await within(timeoutMs(plan) + killAfterMs + slackMs, ended);
    await Promise.all([...early, ...late]);
    const hasExitLine = (): boolean => trap.events('exit').length > 0;
    // Its last words may still be on their way.
    if (plan.stderr === 'read' && end !== null && end.code !== 125 && end.signal === null)
      await quietly(until('its last line is here', hasExitLine, 3_000));
    logs.push(trap.stderr);

    if (end?.signal === 'SIGKILL' && day.injected.includes('kill-trap')) {
      const next = await afterwards(day, plan, logs);
      outcome = next.outcome;
      complaints.push(...next.complaints);
    } else {
      outcome = end === null ? 'hang' : (end.signal ?? String(end.code));
      const stderr = plan.stderr === 'read' ? trap.stderr : null;
      complaints.push(...judge(plan, day.injected, { end, serial: day.serial, stderr }));
      // The run directory of a qemu-trap that was killed stays for the next one.
      complaints.push(...(await leftovers(day.lab, day.injected.includes('kill-trap') ? null : day.runDir)));
    }
    const pressed = day.serial.includes(guestSays.pressed);
    return { outcome, injected: day.injected, pressed, complaints, log: logs.join('\n--\n') };
  } finally {
    await day.clear();
  }
}

function judge(plan: Plan, injected: readonly Fault['kind'][], life: Life): Complaint[] {
  const has = (...kinds: Fault['kind'][]): boolean => injected.some((kind) => kinds.includes(kind));
  const { end, serial } = life;
  const isWilling = plan.temper !== 'stubborn';
  const isHeldUp = has('kill-qemu', 'hang-qemu', 'quit');
  const refusal =
    isHeldUp ||
    has('fill-disk', 'few-files', 'few-processes', 'remove-run-dir') ||
    (end?.code === 125 && has('remove-hooks')) ||
    // It was stopped before its first instruction.
    end?.code === 124;
  const complaints = judgeLife(life, { refusal, cutOff: isHeldUp || !isWilling });
  if (end?.code === 125 && serial !== '') complaints.push({ kind: 'lost', what: 'status 125 with a guest that ran' });
  const wasForced = [124, 137].includes(end?.code ?? NaN);
  if (wasForced && serial !== '' && !serial.includes(guestSays.pressed) && !isWilling && !isHeldUp)
    complaints.push({ kind: 'lost', what: `a stubborn guest never heard its button (status ${end?.code})` });
  if (end?.code === 137 && serial !== '' && !has('kill-qemu', 'hang-qemu', 'stop-qemu', 'stop-trap'))
    complaints.push({ kind: 'untrue', what: 'SIGKILL was needed, and QEMU was free to quit' });
  return complaints;
}

/** qemu-trap was killed: the next start finds the guest again (keep), or no QEMU at all (kill). */
async function afterwards(day: Day, plan: Plan, logs: string[]): Promise<Pick<Judgement, 'outcome' | 'complaints'>> {
  const complaints: Complaint[] = [];
  const complain = (kind: Complaint['kind'], what: string): void => void complaints.push({ kind, what });
  const before = day.serial;
  if (plan.onDeath === 'kill') {
    await quietly(until('QEMU has gone with it', () => day.processes().qemu.length === 0, 10_000));
    if (day.processes().qemu.length > 0) complain('leftover', 'QEMU outlived its qemu-trap with --on-death kill');
  }
  day.mend();
  const kept = plan.onDeath === 'keep' ? day.processes().qemu : [];
  const next = day.start('read');
  const { ended, isOver } = watchEnd(next);
  await quietly(
    until(
      'the next one has its guest',
      () => isOver() || (next.events('ready').length > 0 && day.serial.includes(guestSays.up)),
      patienceMs,
    ),
  );
  if (day.processes().qemu.length > 1) complain('leftover', `two QEMUs on one disk: ${day.processes().qemu.join(' ')}`);
  const took = next.events('takeover').length > 0;
  if (kept.length > 0 && !took && !isOver() && kept.some(isAlive))
    complain('lost', `QEMU ${kept.join(' ')} was kept, and is not taken over`);
  if (!isOver()) day.send(next.pid, 'SIGTERM');
  const end = await within(timeoutMs(plan) + killAfterMs + slackMs, ended);
  logs.push(next.stderr);
  const bye = day.serial.includes(guestSays.bye) || before.includes(guestSays.bye);
  if (end === null) complain('hang', 'the next qemu-trap has not ended');
  else if (plan.temper === 'stubborn' ? end.code !== 124 : end.code !== 0 || !bye)
    complain(
      'lost',
      `after a SIGKILL of qemu-trap, the next one ended with ${end.signal ?? end.code}${bye ? '' : ', and the guest never said goodbye'}:\n${next.stderr}`,
    );
  complaints.push(...(await leftovers(day.lab, day.runDir)));
  return { outcome: `killed, then ${took ? 'taken over' : 'anew'}, ${end?.signal ?? end?.code ?? 'hang'}`, complaints };
}
