import { bashSocat, bundledHook, floor, inProcess, userHook } from './contenders.js';
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
    what: 'press in process, first signal, over C that holds a connection',
    table: 'From SIGTERM',
    row: inProcess.name,
    over: floor.name,
    most: 2.2,
  },
  {
    what: 'two-line hook, the press, over bash with socat',
    table: 'From SIGTERM',
    row: userHook.name,
    over: bashSocat.name,
    most: 0.9,
  },
  {
    what: 'one stop alone, bundled hook, over in process',
    table: 'One stop alone',
    row: bundledHook.name,
    over: inProcess.name,
    most: 1.5,
  },
  ...(
    [
      [inProcess, 1.6],
      [userHook, 2.5],
      [bundledHook, 3],
    ] as const
  ).map(([{ name }, most]) => ({
    what: `100 guests, to the last exit, ${name.replace('qemu-trap, ', '')}, over bash with socat`,
    table: '100 guests at once, to the last exit',
    row: name,
    over: bashSocat.name,
    most,
  })),
  ...[userHook, bundledHook].map(({ name }) => ({
    what: `100 guests, processor time of one stop, ${name.replace('qemu-trap, ', '')}, ms`,
    table: '100 guests at once, processor time',
    row: name,
    over: null,
    most: 20,
  })),
  { what: 'start, over node -e 0', table: 'Start', row: 'qemu-trap', over: 'node -e 0', most: 1.35 },
  { what: 'wake-ups of an idle one', table: 'Wake-ups', row: 'qemu-trap', over: null, most: 0 },
  {
    what: 'private memory of an idle one, over a Node with a socket',
    table: 'Private memory of an idle one',
    row: 'qemu-trap',
    over: 'node, one socket',
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
