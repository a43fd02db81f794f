import { median, type Table } from './table.js';
import { escapeText, picture } from '../demo/svg.js';

/** How the titles begin of the tables that are drawn, one below the other. */
const drawn: readonly string[] = [
  'From SIGTERM',
  '100 guests at once, to the last POWERDOWN',
  '100 guests at once, to the last exit',
  'Start',
  'Proportional memory',
];

const [left, bar, row, gap] = [210, 330, 24, 46] as const;

function heightOf({ rows }: Table): number {
  return gap + rows.length * row;
}

/** A figure as people read it. */
function readable(value: number, unit: string): string {
  const [shown, of] = unit === 'ms' && value >= 1_000 ? [value / 1_000, 's'] : [value, unit];
  return `${shown < 10 ? Number(shown.toPrecision(2)) : Math.round(shown)} ${of}`;
}

/** One table as bars, with the figure of each and its ratio to the first. */
function panel({ title, unit, rows }: Table, top: number): string[] {
  const values = rows.map(median);
  const [first = 1] = values;
  const most = Math.max(...values);
  const bars = rows.flatMap(({ name }, i) => {
    const value = values[i] as number;
    const y = top + gap - 12 + i * row;
    const width = Math.max(2, (value / most) * bar);
    return [
      `<text x="${left - 10}" y="${y + 14}" text-anchor="end">${escapeText(name)}</text>`,
      `<rect x="${left}" y="${y}" width="${width.toFixed(1)}" height="${row - 6}" class="${name.startsWith('qemu-trap') ? 'ours' : 'others'}"/>`,
      `<text x="${(left + width + 6).toFixed(1)}" y="${y + 14}">${readable(value, unit)} <tspan class="quiet">(${(value / first).toFixed(2)})</tspan></text>`,
    ];
  });
  const unity =
    rows[0] === undefined
      ? ''
      : ` <tspan class="quiet" font-weight="normal">(1.00 is ${escapeText(rows[0].name)})</tspan>`;
  return [`<text x="10" y="${top + 22}" font-weight="bold">${escapeText(title)}${unity}</text>`, ...bars];
}

export function draw(tables: readonly Table[]): string {
  const panels = drawn.flatMap((title) => tables.filter((table) => table.title.startsWith(title)));
  const lines: string[] = [];
  let top = 0;
  for (const table of panels) {
    lines.push(...panel(table, top));
    top += heightOf(table);
  }
  return picture(left + bar + 150, top + 10, "Latency, a host's shutdown, start and memory beside other ways", lines);
}
