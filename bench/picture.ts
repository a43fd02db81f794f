import { figure, median, type Table } from './table.js';
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

/** One table as bars, with the figure of each and its ratio to the first. */
function panel({ title, unit, rows }: Table, top: number): string[] {
  const values = rows.map(median);
  const [first = 1] = values;
  const most = Math.max(...values);
  const bars = rows.flatMap(({ name }, i) => {
    const value = values[i] as number;
    const y = top + gap - 12 + i * row;
    const width = Math.max(2, (value / most) * bar);
    const colour = name.startsWith('qemu-trap') ? '#2563a8' : '#9aa5b1';
    return [
      `<text x="${left - 10}" y="${y + 14}" text-anchor="end">${escapeText(name)}</text>`,
      `<rect x="${left}" y="${y}" width="${width.toFixed(1)}" height="${row - 6}" fill="${colour}"/>`,
      `<text x="${(left + width + 6).toFixed(1)}" y="${y + 14}">${figure(value)} ${unit} (${(value / first).toFixed(2)})</text>`,
    ];
  });
  return [`<text x="10" y="${top + 22}" font-weight="bold">${escapeText(title)}</text>`, ...bars];
}

export function draw(tables: readonly Table[]): string {
  const panels = drawn.flatMap((title) => tables.filter((table) => table.title.startsWith(title)));
  const lines: string[] = [];
  let top = 0;
  for (const table of panels) {
    lines.push(...panel(table, top));
    top += heightOf(table);
  }
  return picture(left + bar + 150, top + 10, lines);
}
