import { test } from 'node:test';
import { columns } from '../../src/system/text-table.js';
import type { guestSays } from '../../src/commands/try/guest.js';
import type { Engine } from './engine.js';

/*
 * What was seen: one row for each way that a container came to its end, and one line for all of them.
 */

const rows: string[][] = [['ENGINE', 'WHAT', 'TIMES', 'GUEST SAW', 'STATUS', 'SECONDS EACH']];
let failed = 0;

/** How often each way is gone. */
const cycles = Number(process.env['QEMU_TRAP_TEST_CYCLES'] ?? 10);

/** What is told of. */
interface Stopped {
  readonly engine: Engine;
  readonly guest: { said(words: keyof typeof guestSays): boolean };
  /** The engine's status. */
  readonly code: string;
}

/** A test of one container, again and again, which is told of in the report. */
export function scenario(web: Stopped, what: string, body: () => Promise<void>): void {
  test(what, async () => {
    const began = performance.now();
    let done = 0;
    try {
      for (; done < cycles; done++) await body();
    } finally {
      const isDone = done === cycles;
      if (!isDone) failed++;
      const seconds = ((performance.now() - began) / 1_000 / Math.max(1, done)).toFixed(1);
      const saw = (['up', 'pressed', 'bye'] as const).filter((words) => web.guest.said(words)).join(', ');
      rows.push([web.engine.name, what, String(done), saw, isDone ? web.code : 'FAILED', seconds]);
    }
  });
}

export function report(): void {
  console.log(columns(rows));
  const engines = new Set(rows.slice(1).map(([engine]) => engine));
  console.log(
    `engines: ${[...engines].join(', ')}: ${rows.length - 1} ways to an end, ${cycles} times each, ${failed} failed`,
  );
}
