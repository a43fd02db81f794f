import assert from 'node:assert/strict';
import { resolve } from 'node:path';
import { read } from './lab.js';

/*
 * What qemu-trap and QEMU say to each other on the control monitor, as a program between the two has seen it pass.
 */

/** One command, with QEMU's answer, in the order of the answers; or an event. */
export type Passed =
  | { readonly command: string; readonly line: string | null; readonly answer: unknown }
  | { readonly event: string };

/** QEMU's command line, with all that passes on the control monitor written to `file`; $WHOLE must be set. */
export function observed(file: string, command: readonly string[]): string[] {
  return ['python3', resolve('test/support/between.py'), file, ...command];
}

interface Message {
  readonly id?: number;
  readonly execute?: string;
  readonly arguments?: Readonly<Record<string, string>>;
  readonly return?: unknown;
  readonly event?: string;
}

export function readPassed(file: string): Passed[] {
  const asked = new Map<number, Message>();
  const all: Passed[] = [];
  for (const line of read(file).split('\n')) {
    if (!/^[<>] \{/.test(line)) continue;
    const message = JSON.parse(line.slice(2)) as Message;
    if (line.startsWith('>')) asked.set(message.id ?? 0, message);
    else if (message.event !== undefined) all.push({ event: message.event });
    else if (message.id !== undefined) {
      const { execute = '', arguments: args } = asked.get(message.id) ?? {};
      all.push({ command: execute, line: args?.['command-line'] ?? null, answer: message.return });
    }
  }
  return all;
}

/** The registers of one reading, as far as an answer is one of them. */
function registerOf(passed: Passed): { readonly isEnable: boolean; readonly value: number } | null {
  if (!('command' in passed) || passed.line === null) return null;
  const port = /^i \/h 0x([0-9a-f]+)$/.exec(passed.line)?.[1];
  const value = /= 0x([0-9a-f]{4})\s*$/.exec(String(passed.answer))?.[1];
  if (port === undefined || value === undefined) return null;
  return { isEnable: parseInt(port, 16) % 4 === 2, value: parseInt(value, 16) };
}

/** Whether anything of the button was read. */
export function countReadings(all: readonly Passed[]): number {
  return all.filter((passed) => registerOf(passed)?.isEnable).length;
}

/**
 * A guest that was seen not to listen is pressed right after the first reading that shows it listening.
 * @returns how many presses came of that
 */
export function assertPressedWhenHeard(all: readonly Passed[]): { readonly presses: number } {
  let isDeaf = false;
  let presses = 0;
  // The status comes first: a reading with an event in between is none.
  let isWhole = false;
  for (const [i, passed] of all.entries()) {
    if ('event' in passed && ['RESET', 'WAKEUP', 'POWERDOWN'].includes(passed.event)) isDeaf = isWhole = false;
    const register = registerOf(passed);
    if (register?.isEnable === false) isWhole = true;
    if (register === null || !register.isEnable || register.value === 0xffff || !isWhole) continue;
    const listens = (register.value & 0x100) !== 0;
    if (listens && isDeaf) {
      const next = all.slice(i + 1).find((each) => 'command' in each);
      assert.equal(next && 'command' in next ? next.command : null, 'system_powerdown', JSON.stringify(all.slice(i)));
      presses++;
    }
    isDeaf = !listens;
  }
  return { presses };
}
