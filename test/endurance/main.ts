import { liveMany, wordTally } from './many.js';

/*
 * npm run test:endurance -- [--runs N] [--seed N] [--only NUMBER] [--lanes N] [--loud 1]
 *
 * --loud 1 has every qemu-trap's stderr read, to see why.
 */

const given = new Map<string, number>();
for (let i = 2; i < process.argv.length; i += 2) {
  const [name = '', value] = [process.argv[i], process.argv[i + 1]];
  if (!['--runs', '--seed', '--only', '--lanes', '--loud'].includes(name) || !/^\d+$/.test(value ?? '')) {
    console.error('usage: npm run test:endurance -- [--runs NUMBER] [--seed NUMBER] [--only NUMBER] [--lanes NUMBER] [--loud 1]');
    process.exit(2);
  }
  given.set(name, Number(value));
}
const seed = given.get('--seed') ?? 20261124;
const only = given.get('--only');
const numbers = only === undefined ? Array.from({ length: given.get('--runs') ?? 1_000 }, (_, number) => number) : [only];
const tally = await liveMany(seed, numbers, given.get('--lanes') ?? 4, given.has('--loud'), (text) => console.log(text));
console.log(`\n${wordTally(seed, tally)}`);
process.exit(tally.lost + tally.hangs + tally.leftovers + tally.untrue === 0 ? 0 : 1);
