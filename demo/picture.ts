import type { Moment } from '../src/commands/try/timeline.js';
import { escapeText, picture } from './svg.js';

/** One run of the demo: a lane of the picture. */
export interface Scene {
  readonly title: string;
  readonly moments: readonly Moment[];
  /** The last words under it. */
  readonly outcome: string;
  readonly isGood: boolean;
}

const [row, head, foot, lane] = [28, 62, 46, 480] as const;
/** Within a lane: where the times end, the line is, and the words begin. */
const [times, line, words] = [66, 84, 100] as const;
const classes: Readonly<Record<string, string>> = { you: 'you', 'qemu-trap': 'ours', guest: 'guest' };

/** Text that sits in the middle of its row. */
const text = (x: number, y: number, content: string, attributes = ''): string =>
  `<text x="${x}" y="${y + 4}"${attributes === '' ? '' : ` ${attributes}`}>${content}</text>`;

/** A lane from above to below, in milliseconds from the signal on. */
function drawLane({ title, moments, outcome, isGood }: Scene, left: number, rows: number): string[] {
  const signal = moments.find(({ who }) => who === 'you')?.at ?? 0;
  const y = (i: number): number => head + i * row;
  return [
    text(left + 20, 26, escapeText(title), 'font-weight="bold" font-size="16"'),
    `<line class="lane" x1="${left + line}" y1="${y(0) - 14}" x2="${left + line}" y2="${y(moments.length - 1) + 14}" stroke-width="2"/>`,
    ...moments.flatMap(({ at, who, what }, i) => [
      ...(at < signal
        ? []
        : [text(left + times, y(i), `${(at - signal).toFixed(0)} ms`, 'class="quiet" text-anchor="end"')]),
      `<circle class="${classes[who] ?? 'others'}" cx="${left + line}" cy="${y(i)}" r="6"/>`,
      text(
        left + words,
        y(i),
        `<tspan class="${classes[who] ?? 'quiet'}" font-weight="bold">${escapeText(who)}</tspan> ${escapeText(what)}`,
      ),
    ]),
    text(left + 20, y(rows - 1) + foot, escapeText(outcome), `class="${isGood ? 'good' : 'bad'}" font-weight="bold"`),
  ];
}

/** The demo as a picture (SVG): two lanes side by side. */
export function draw(scenes: readonly Scene[]): string {
  const rows = Math.max(...scenes.map(({ moments }) => moments.length));
  const title = scenes.map((scene) => `${scene.title}: ${scene.outcome}`).join(' ');
  return picture(
    lane * scenes.length,
    head + rows * row + foot,
    title,
    scenes.flatMap((scene, i) => drawLane(scene, i * lane, rows)),
  );
}
