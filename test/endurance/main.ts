import minimist from 'minimist';
import { noStrace } from '../support/strace.js';
import { failCalls, formatCalls } from './calls.js';
import { findPowers } from './day.js';
import { complaintsOf, describeLongLife, liveLong } from './long-life.js';
import { formatTally, liveMany } from './many.js';
import { formatPlaces, liveInPlaces } from './places.js';
import { formatPairs, sendPairs } from './signal-pairs.js';
import { formatStarts, startAndStop } from './starts.js';
import { needsLinux } from '../support/linux.js';

/*
 * npm run test:endurance -- [PART...] [--seed N] [--runs N] [--only NUMBER] [--phase NAME] [--lanes N] [--loud]
 * PART is days, calls, pairs, places, starts or resets; none: all. --runs: how many of each part (days: 1,000; else all
 * there are). --only: one day, or one place; --phase: one phase of the pairs. --loud has every qemu-trap's stderr read on
 * a bad day, to see why, and tells of each place.
 */

const parts = ['days', 'calls', 'pairs', 'places', 'starts', 'resets'] as const;
const given = minimist(process.argv.slice(2), {
  boolean: ['loud'],
  string: ['seed', 'runs', 'only', 'lanes', 'phase'],
  unknown: (word) => {
    if (!word.startsWith('-') && parts.includes(word as (typeof parts)[number])) return true;
    console.error(
      `'${word}': write ${parts.join(', ')}, --seed N, --runs N, --only NUMBER, --phase NAME, --lanes N, or --loud`,
    );
    process.exit(2);
  },
});
const number = (name: string): number | null => {
  const value = given[name];
  if (value === undefined) return null;
  if (!/^\d+$/.test(value)) {
    console.error(`--${name} ${value}: write a number`);
    process.exit(2);
  }
  return Number(value);
};
const wanted = given._.length > 0 ? given._ : parts;
const [seed, runs, only, lanes] = [number('seed') ?? 20261124, number('runs'), number('only'), number('lanes') ?? 4];
const tell = (text: string): void => console.log(text);
let isFlawless = true;
const conclude = (summary: string, isGood: boolean): void => {
  console.log(`\n${summary}\n`);
  if (!isGood) isFlawless = false;
};

if (wanted.includes('calls')) {
  if (noStrace !== false) conclude('calls: strace can trace nothing here', false);
  else {
    const tally = await failCalls(seed, runs, lanes, tell);
    conclude(formatCalls(seed, tally), tally.count.none);
  }
}
if (wanted.includes('pairs')) {
  const tally = await sendPairs(seed, runs, lanes, needsLinux.skip === false, given['phase'] ?? null, tell);
  conclude(formatPairs(seed, tally), tally.count.none);
}
if (wanted.includes('places')) {
  const tally = await liveInPlaces(seed, runs, only, lanes, findPowers(), given['loud'], tell);
  conclude(formatPlaces(seed, tally), tally.count.none);
}
if (wanted.includes('days')) {
  const numbers = only === null ? Array.from({ length: runs ?? 1_000 }, (_, day) => day) : [only];
  const tally = await liveMany(seed, numbers, lanes, given['loud'], tell);
  conclude(formatTally(seed, tally), tally.count.none);
}
if (wanted.includes('starts')) {
  const tally = await startAndStop(runs ?? 200, lanes, tell);
  conclude(formatStarts(tally), tally.count.none);
}
if (wanted.includes('resets')) {
  for (const way of ['in process', 'by hook'] as const) {
    const life = await liveLong(way, runs ?? 10_000);
    const complaints = complaintsOf(life);
    conclude(
      [describeLongLife(life), ...complaints.map((what) => `  NOT FLAT: ${what}`)].join('\n'),
      complaints.length === 0,
    );
  }
}
process.exit(isFlawless ? 0 : 1);
