import { complaintsOf, liveLong, describeLongLife } from './long-life.js';
import { liveMany, formatTally } from './many.js';

/*
 * npm run test:endurance -- [--runs N] [--seed N] [--only NUMBER] [--lanes N] [--loud 1] [--resets N]
 *
 * --loud 1 has every qemu-trap's stderr read, to see why.
 */

const given = new Map<string, number>();
for (let i = 2; i < process.argv.length; i += 2) {
  const [name = '', value] = [process.argv[i], process.argv[i + 1]];
  if (!['--runs', '--seed', '--only', '--lanes', '--loud', '--resets'].includes(name) || !/^\d+$/.test(value ?? '')) {
    console.error(
      'usage: npm run test:endurance -- [--runs NUMBER] [--seed NUMBER] [--only NUMBER] [--lanes NUMBER] [--loud 1] [--resets NUMBER]',
    );
    process.exit(2);
  }
  given.set(name, Number(value));
}
const seed = given.get('--seed') ?? 20261124;
const only = given.get('--only');
const numbers =
  only === undefined ? Array.from({ length: given.get('--runs') ?? 1_000 }, (_, number) => number) : [only];
const tally = await liveMany(seed, numbers, given.get('--lanes') ?? 4, given.has('--loud'), (text) =>
  console.log(text),
);
console.log(`\n${formatTally(seed, tally)}`);
let aged = true;
const resets = given.get('--resets') ?? (only === undefined ? 10_000 : 0);
for (const way of ['in process', 'by hook'] as const) {
  if (resets === 0) continue;
  const life = await liveLong(way, resets);
  console.log(`\n${describeLongLife(life)}`);
  for (const what of complaintsOf(life)) {
    console.log(`  NOT FLAT: ${what}`);
    aged = false;
  }
}
process.exit(aged && tally.lost + tally.hangs + tally.leftovers + tally.untrue === 0 ? 0 : 1);
