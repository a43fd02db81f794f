import { median, type Table } from './table.js';

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

/** Tables as bars, one below the other, with the ratio to the first row at each. */
export function draw(tables: readonly Table[]): string {
  const [{ title, unit, rows: all }] = tables as [Table];
  const rows = all.map((row) => ({ name: row.name, value: median(row) }));
  const most = Math.max(...rows.map(({ value }) => value));
  const first = rows[0]?.value ?? 1;
  const [left, bar, row] = [210, 360, 26];
  const height = 50 + rows.length * row;
  const bars = rows.map(({ name, value }, i) => {
    const y = 40 + i * row;
    const width = Math.max(2, (value / most) * bar);
    const colour = name.startsWith('qemu-trap') ? '#2563a8' : '#9aa5b1';
    return [
      `<text x="${left - 10}" y="${y + 15}" text-anchor="end">${escape(name)}</text>`,
      `<rect x="${left}" y="${y}" width="${width.toFixed(1)}" height="${row - 6}" fill="${colour}"/>`,
      `<text x="${left + width + 6}" y="${y + 15}">${value.toFixed(2)} ${unit}, ${(value / first).toFixed(1)}</text>`,
    ].join('\n');
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${left + bar + 130}" height="${height}" font-family="sans-serif" font-size="13">`,
    `<rect width="100%" height="100%" fill="#ffffff"/>`,
    `<text x="10" y="22" font-weight="bold">${escape(title)}</text>`,
    ...bars,
    '</svg>',
    '',
  ].join('\n');
}
