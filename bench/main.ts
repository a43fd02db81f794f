import { writeFileSync } from 'node:fs';
import minimist from 'minimist';
import { boot } from './boot.js';
import { goals } from './goals.js';
import { withLibvirt } from './contenders.js';
import { curve, idle, manyAtOnce, oneStop, start, storm } from './measures.js';
import { draw } from './picture.js';
import { word, type Table } from './table.js';

/*
 * Every figure side by side in one run, for only their ratios hold from one machine to another.
 */

const { quick, only, rounds, guests, svg, json } = minimist(process.argv.slice(2), {
  boolean: ['quick'],
  string: ['only', 'guests', 'svg', 'json'],
});
const atOnce: readonly number[] = guests
  ? String(guests).split(',').map(Number)
  : quick
    ? [10]
    : [10, 25, 50, 100, 200];
const sections: readonly string[] = only
  ? String(only).split(',')
  : ['boot', 'stop', 'start', 'idle', 'shutdown', 'storm'];
const tables: Table[] = [];

function tell(...some: readonly Table[]): void {
  for (const table of some) {
    tables.push(table);
    console.log(word(table));
  }
}

if (sections.includes('boot')) tell(await boot(rounds ?? (quick ? 3 : 20)));

if (sections.some((section) => section !== 'boot'))
  await withLibvirt(async (libvirtd) => {
    if (sections.includes('stop')) tell(...(await oneStop(rounds ?? (quick ? 5 : 21))));
    if (sections.includes('start')) tell(await start(rounds ?? (quick ? 5 : 21)));
    if (sections.includes('idle')) tell(...(await idle(quick ? 5 : 50, quick ? 5_000 : 60_000, libvirtd)));
    if (sections.includes('shutdown')) {
      for (const count of atOnce) tell(...(await manyAtOnce(count, rounds ?? (quick ? 1 : 3))));
      tell(curve(tables));
    }
    if (sections.includes('storm')) tell(...(await storm(quick ? 20_000 : 100_000)));
  });
for (const goal of goals(tables)) console.log(goal);
if (json) writeFileSync(json, JSON.stringify(tables));
if (svg) writeFileSync(svg, draw(tables));
