import assert from 'node:assert/strict';
import { test } from 'node:test';
import { liveMany, wordTally } from './endurance/many.js';

const seed = 20261124;

test('thirty bad days, the same each time: no guest lost, no hang, nothing left behind, no untrue status', async () => {
  const told: string[] = [];
  const tally = await liveMany(seed, Array.from({ length: 30 }, (_, number) => number), 3, false, (text) => told.push(text));
  const { lost, hangs, leftovers, untrue } = tally;
  assert.deepEqual({ lost, hangs, leftovers, untrue }, { lost: 0, hangs: 0, leftovers: 0, untrue: 0 }, `${told.join('\n')}\n${wordTally(seed, tally)}`);
  assert.ok([...tally.injected.values()].reduce((sum, times) => sum + times, 0) >= 15, wordTally(seed, tally));
});
