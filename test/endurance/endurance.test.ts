import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { noStrace } from '../support/strace.js';
import { failCalls, formatCalls } from './calls.js';
import { complaintsOf, liveLong, describeLongLife } from './long-life.js';
import { findPowers } from './day.js';
import { live } from './live.js';
import { liveMany, formatTally } from './many.js';
import { formatPlaces, liveInPlaces } from './places.js';
import { makePlan, type Plan } from './plan.js';
import { formatPairs, sendPairs } from './signal-pairs.js';
import { formatStarts, startAndStop } from './starts.js';
import { Lab } from '../support/lab.js';

const seed = 20261124;

test('thirty bad days, the same each time: no guest lost, no hang, nothing left behind, no untrue status', async () => {
  const told: string[] = [];
  const tally = await liveMany(
    seed,
    Array.from({ length: 30 }, (_, number) => number),
    3,
    false,
    (text) => told.push(text),
  );
  assert.ok(tally.count.none, `${told.join('\n')}\n${formatTally(seed, tally)}`);
  assert.ok([...tally.injected.values()].reduce((sum, times) => sum + times, 0) >= 15, formatTally(seed, tally));
});

/** What people write by hand: QEMU gets the signal that the wrapper gets. */
const naive = `
const { spawn } = require('node:child_process');
const qemu = spawn(process.argv[process.argv.indexOf('--') + 1], process.argv.slice(process.argv.indexOf('--') + 2), { stdio: 'inherit' });
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGPWR']) process.on(signal, () => qemu.kill('SIGTERM'));
qemu.on('exit', (code) => process.exit(code ?? 1));
`;

test('negative control: a wrapper that passes the signal on is found out on a day without any fault', async (t) => {
  const lab = new Lab(t);
  writeFileSync(lab.file('naive.cjs'), naive);
  const plain: Plan = {
    ...makePlan(seed, 0, { root: false, mount: false, clock: null }),
    temper: 'obedient',
    hook: 'bundled',
    stderr: 'unread',
    stop: 'SIGTERM',
    stopAt: 'up',
    faults: [],
  };
  const { complaints } = await live(plain, findPowers(), 0, lab.file('naive.cjs'));
  assert.deepEqual(
    complaints.map(({ what }) => what),
    ['status 0 (no cause), and the guest never said goodbye'],
  );
  assert.deepEqual((await live(plain, findPowers(), 0)).complaints, []);
});

test('some calls of a life that fail, take long, or are the last: no guest lost, no hang, nothing left behind, no untrue status', {
  skip: noStrace,
}, async (t) => {
  const told: string[] = [];
  const tally = await failCalls(seed, 12, 3, (text) => told.push(text));
  const summary = formatCalls(seed, tally);
  t.diagnostic(summary);
  assert.ok(tally.count.none, `${told.join('\n')}\n${summary}`);
  assert.ok(tally.injected >= 12, summary);
});

test('some pairs of signals, each in its phase: no guest lost, no hang, nothing left behind, no untrue status', async (t) => {
  const told: string[] = [];
  const tally = await sendPairs(seed, 40, 3, false, null, (text) => told.push(text));
  const summary = formatPairs(seed, tally);
  t.diagnostic(summary);
  assert.ok(tally.count.none, `${told.join('\n')}\n${summary}`);
});

const powers = findPowers();

test('some odd places: no guest lost, no hang, nothing left behind, no untrue status', {
  skip: powers.mount ? false : 'nothing can be mounted here',
}, async (t) => {
  const told: string[] = [];
  const tally = await liveInPlaces(seed, 12, null, 3, powers, false, (text) => told.push(text));
  const summary = formatPlaces(seed, tally);
  t.diagnostic(summary);
  assert.ok(tally.count.none, `${told.join('\n')}\n${summary}`);
});

test('a start and a stop in each mode: nothing is left behind', async (t) => {
  const told: string[] = [];
  const tally = await startAndStop(10, 3, (text) => told.push(text));
  const summary = formatStarts(tally);
  t.diagnostic(summary);
  assert.ok(tally.count.none, `${told.join('\n')}\n${summary}`);
});

for (const [way, times] of [
  ['in process', 1_500],
  ['by hook', 200],
] as const) {
  test(`${times} resets of a living guest, ${way}: memory and descriptors stay as they are`, async () => {
    const life = await liveLong(way, times);
    assert.deepEqual(complaintsOf(life), [], describeLongLife(life));
  });
}
