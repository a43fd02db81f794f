/** A slip more than these, and another word was meant. */
const mostSlips = 2;

/** How many letters were left out, put in, replaced, or swapped with the next (the restricted Damerau-Levenshtein distance). */
function slips(a: string, b: string): number {
  const rows: number[][] = [[...b, ''].map((_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    const [above, before] = [rows[i - 1] as number[], rows[i - 2]];
    for (let j = 1; j <= b.length; j++) {
      const isSame = a[i - 1] === b[j - 1];
      const isSwap = before !== undefined && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const ways = [(above[j] as number) + 1, (row[j - 1] as number) + 1, (above[j - 1] as number) + (isSame ? 0 : 1)];
      if (isSwap) ways.push((before[j - 2] as number) + 1);
      row.push(Math.min(...ways));
    }
    rows.push(row);
  }
  return (rows[a.length] as number[])[b.length] as number;
}

/** The one of `names` that was most likely meant by `word`; `null` if it is near to none. */
export function nearest(word: string, names: readonly string[]): string | null {
  const near = names.map((each) => ({ each, by: slips(word, each) })).filter(({ by }) => by <= mostSlips);
  near.sort((a, b) => a.by - b.by);
  // A short word is near to anything.
  return near[0] !== undefined && near[0].by < near[0].each.length / 2 ? near[0].each : null;
}
