import { bashNc, bashSocat, floor, inProcess, userHook } from './contenders.js';
import { median, type Table } from './table.js';

/** What was to be reached, as a ratio of two rows of one table, or as a bound in the table's own unit. */
interface Goal {
  readonly what: string;
  /** How the table's title begins. */
  readonly table: string;
  readonly row: string;
  readonly over: string | null;
  readonly most: number;
}

const list: readonly Goal[] = [
  {
    what: 'in process, first signal, over the C floor',
    table: 'From SIGTERM',
    row: inProcess.name,
    over: floor.name,
    most: 1.5,
  },
  {
    what: 'two-line hook, first signal, over bash with socat',
    table: 'From SIGTERM',
    row: userHook.name,
    over: bashSocat.name,
    most: 0.7,
  },
  {
    what: 'two-line hook, first signal, over bash with nc -U',
    table: 'From SIGTERM',
    row: userHook.name,
    over: bashNc.name,
    most: 1,
  },
  { what: 'start, over node -e 0', table: 'Start', row: 'qemu-trap', over: 'node -e 0', most: 1.15 },
  { what: 'wake-ups of an idle one', table: 'Wake-ups', row: 'qemu-trap', over: null, most: 0 },
  {
    what: 'private memory of an idle one, over a Node with a socket',
    table: 'Private memory of an idle one',
    row: 'qemu-trap',
    over: 'node, one socket',
    most: 1.05,
  },
  {
    what: 'proportional memory of one of fifty, MiB',
    table: 'Proportional memory of one of 50',
    row: 'qemu-trap',
    over: null,
    most: 7,
  },
  {
    what: '100 guests, in process, over bash with socat',
    table: '100 guests at once, to the last POWERDOWN',
    row: inProcess.name,
    over: bashSocat.name,
    most: 0.5,
  },
  {
    what: '100 guests, two-line hook, over bash with socat',
    table: '100 guests at once, to the last POWERDOWN',
    row: userHook.name,
    over: bashSocat.name,
    most: 0.75,
  },
  {
    what: 'private memory after a storm, over that before',
    table: 'Private memory before and after',
    row: 'after',
    over: 'before',
    most: 1.1,
  },
];

/** A line for each goal that was measured. */
export function goals(tables: readonly Table[]): string[] {
  return list.flatMap(({ what, table: title, row, over, most }) => {
    const table = tables.find((each) => each.title.startsWith(title));
    if (table === undefined) return [];
    const value = (name: string): number => median(table.rows.find((each) => each.name === name));
    const got = over === null ? value(row) : value(row) / value(over);
    return [`${got <= most ? 'met    ' : 'not met'}  ${got.toFixed(2).padStart(6)}, at most ${most}: ${what}`];
  });
}
