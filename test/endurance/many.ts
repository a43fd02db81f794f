import { findPowers } from './day.js';
import { live, type Judgement } from './live.js';
import { Count, formatComplaints, inLanes } from './life.js';
import { faultKinds, makePlan, formatPlan, type FaultKind, type Plan } from './plan.js';

export interface Tally {
  readonly days: number;
  readonly pressed: number;
  readonly injected: ReadonlyMap<FaultKind, number>;
  readonly outcomes: ReadonlyMap<string, number>;
  readonly count: Count;
}

/**
 * Lives many days, a few at a time.
 * @param loud every stderr is read
 * @param tell takes one line a day, and more where there is something to complain of
 */
export async function liveMany(
  seed: number,
  numbers: readonly number[],
  lanes: number,
  loud: boolean,
  tell: (text: string) => void,
): Promise<Tally> {
  const powers = findPowers();
  const injected = new Map<FaultKind, number>(faultKinds.map((kind) => [kind, 0]));
  const outcomes = new Map<string, number>();
  const count = new Count();
  let pressed = 0;
  const note = (plan: Plan, judgement: Judgement, ms: number): void => {
    for (const kind of judgement.injected) injected.set(kind, (injected.get(kind) ?? 0) + 1);
    outcomes.set(judgement.outcome, (outcomes.get(judgement.outcome) ?? 0) + 1);
    if (judgement.pressed) pressed++;
    count.add(judgement.complaints);
    tell(`${formatPlan(plan)} -> ${judgement.outcome} (${(ms / 1000).toFixed(1)} s)`);
    if (judgement.complaints.length > 0) tell(formatComplaints(judgement.complaints, judgement.log));
  };
  await inLanes(lanes, numbers, async (number, lane) => {
    const drawn = makePlan(seed, number, powers);
    const plan: Plan = loud ? { ...drawn, stderr: 'read' } : drawn;
    const began = performance.now();
    note(plan, await live(plan, powers, lane), performance.now() - began);
  });
  return { days: numbers.length, pressed, injected, outcomes, count };
}

export function formatTally(seed: number, tally: Tally): string {
  const faults = [...tally.injected].filter(([, times]) => times > 0).sort((a, b) => b[1] - a[1]);
  const total = faults.reduce((sum, [, times]) => sum + times, 0);
  return [
    `seed ${seed}: ${tally.days} runs, ${total} faults injected; in ${tally.pressed} runs the guest heard its button`,
    tally.count.toString(),
    `faults: ${faults.map(([kind, times]) => `${kind} ${times}`).join(', ')}`,
    `outcomes: ${[...tally.outcomes]
      .sort((a, b) => b[1] - a[1])
      .map(([what, times]) => `${what}: ${times}`)
      .join('; ')}`,
  ].join('\n');
}
