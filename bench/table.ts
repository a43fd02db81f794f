/** What was measured, contender by contender. */
export interface Row {
  readonly name: string;
  readonly samples: readonly number[];
}

/** Rows to compare: each has its ratio to the first. */
export interface Table {
  readonly title: string;
  readonly unit: string;
  readonly rows: readonly Row[];
  readonly note?: string;
}

/** Samples by name, in the order of the first of each. */
export class Samples {
  readonly #samples = new Map<string, number[]>();

  /** @param first names that come before all others */
  constructor(...first: readonly string[]) {
    for (const name of first) this.#samples.set(name, []);
  }

  add(name: string, ...values: readonly number[]): void {
    const samples = this.#samples.get(name) ?? [];
    samples.push(...values);
    this.#samples.set(name, samples);
  }

  get rows(): Row[] {
    return [...this.#samples].map(([name, samples]) => ({ name, samples }));
  }

  static median(values: readonly number[]): number {
    const sorted = [...values].sort((a, b) => a - b);
    const middle = sorted.length / 2;
    return ((sorted[Math.ceil(middle) - 1] ?? NaN) + (sorted[Math.floor(middle)] ?? NaN)) / 2;
  }
}

export function median(row: Row | undefined): number {
  return Samples.median(row?.samples ?? []);
}

export function figure(value: number): string {
  return Math.abs(value) < 10 ? value.toFixed(2) : value.toFixed(1);
}

/** The table in words: the median, the smallest and the largest of each row, and the ratio of its median to the first row's. */
export function word({ title, unit, rows, note }: Table): string {
  const width = Math.max(...rows.map(({ name }) => name.length));
  const first = median(rows[0]);
  const lines = rows.map((row) => {
    const { name, samples } = row;
    const range =
      samples.length > 1
        ? `  ${figure(Math.min(...samples))} to ${figure(Math.max(...samples))}, ${samples.length} times`
        : '';
    const ratio = rows.length > 1 && first !== 0 ? (median(row) / first).toFixed(2) : '';
    return `  ${name.padEnd(width)} ${figure(median(row)).padStart(8)} ${unit} ${ratio.padStart(8)}${range}`.trimEnd();
  });
  return [title + (note === undefined ? '' : ` (${note})`), ...lines, ''].join('\n');
}
