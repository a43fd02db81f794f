import type { Moment } from '../src/commands/try/timeline.js';
import { escapeText, picture } from './svg.js';

/** One run of the demo: what it shows, and what happened. */
export interface Scene {
  readonly title: string;
  readonly moments: readonly Moment[];
  /** The last words under it. */
  readonly outcome: string;
  readonly isGood: boolean;
}

const [row, head, foot, gap] = [26, 44, 40, 24] as const;
/** Of a character on the average, and what is free at the right. */
const [character, margin] = [6.6, 24] as const;
/** Where the time ends, the first lane is, and the words begin. */
const [times, lanes, lane, words] = [86, 116, 34, 262] as const;
const colours: Readonly<Record<string, string>> = {
  you: '#b45309',
  'qemu-trap': '#2563a8',
  QEMU: '#64748b',
  guest: '#15803d',
  exit: '#111827',
};
const actors = Object.keys(colours);

function heightOf({ moments }: Scene): number {
  return head + moments.length * row + foot;
}

function laneOf(who: string): number {
  return lanes + Math.max(0, actors.indexOf(who)) * lane;
}

/** A timeline from above to below: when, whose doing, what. */
function scene({ title, moments, outcome, isGood }: Scene, top: number): string[] {
  const first = top + head;
  const last = first + (moments.length - 1) * row;
  const drawn = moments.map(({ at, who, what }, i) => {
    const y = first + i * row;
    return [
      `<text x="${times}" y="${y + 4}" text-anchor="end" fill="#475569">${at.toFixed(0)} ms</text>`,
      `<circle cx="${laneOf(who)}" cy="${y}" r="6" fill="${colours[who] ?? '#64748b'}"/>`,
      `<text x="${words}" y="${y + 4}"><tspan font-weight="bold" fill="${colours[who] ?? '#64748b'}">${escapeText(who)}</tspan>  ${escapeText(what)}</text>`,
    ].join('');
  });
  return [
    `<text x="16" y="${top + 20}" font-weight="bold" font-size="15">${escapeText(title)}</text>`,
    ...actors.map(
      (who) =>
        `<line x1="${laneOf(who)}" y1="${first - 10}" x2="${laneOf(who)}" y2="${last + 10}" stroke="#e2e8f0" stroke-width="2"/>`,
    ),
    ...drawn,
    `<text x="16" y="${last + 34}" font-weight="bold" fill="${isGood ? '#15803d' : '#b91c1c'}">${escapeText(outcome)}</text>`,
  ];
}

/** The demo as a picture (SVG). */
export function draw(scenes: readonly Scene[]): string {
  const lines: string[] = [];
  let top = gap / 2;
  for (const each of scenes) {
    lines.push(...scene(each, top));
    top += heightOf(each) + gap;
  }
  const longest = Math.max(
    ...scenes.flatMap(({ moments }) => moments.map(({ who, what }) => who.length + what.length + 2)),
  );
  const width = Math.ceil(words + longest * character + margin);
  return picture(width, top, lines);
}
