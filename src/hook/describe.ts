import { plainLine } from '../log/plain-text.js';
import { realpathSync } from 'node:fs';
import { basename } from 'node:path';
import { readHead } from '../system/small-file.js';
import { isDirectoryOfSteps, stepsIn } from './steps.js';
import type { HookFile } from './find.js';

/** Where a script says of itself what it is: its first lines. */
const headBytes = 4_096;

/** What a hook is, for people. */
export interface Description {
  /** `sh script`, say, or `program`. */
  readonly kind: string;
  /** The file that links lead to; `null` if none does. */
  readonly target: string | null;
  /** What its first comment says; `''` if it says nothing. */
  readonly about: string;
}

function kindOf(text: string | null): string {
  if (text === null) return 'unreadable';
  const [, interpreter, first] = /^#![ \t]*(\S+)(?:[ \t]+(?:-S[ \t]+)?([^\s-]\S*))?/.exec(text) ?? [];
  if (interpreter === undefined) return text.startsWith('\x7fELF') ? 'program' : 'file';
  const name = basename(interpreter);
  return `${name === 'env' && first !== undefined ? basename(first) : name} script`;
}

/** The first comment after `#!`, without the name that it may begin with (`powerdown - shut the guest down`). */
function aboutOf(text: string | null, name: string): string {
  const comment = text?.startsWith('#!') ? (/^#![^\n]*\n#+[ \t]*([^\n]*)/.exec(text)?.[1] ?? '') : '';
  return plainLine(comment.startsWith(`${name} - `) ? comment.slice(name.length + 3) : comment, ' ').trim();
}

export function describeHook(hook: HookFile): Description {
  const { path } = hook;
  let real = path;
  try {
    real = realpathSync(path);
  } catch {
    // It leads nowhere: that is a fault, and said as one.
  }
  const target = real === path ? null : real;
  if (isDirectoryOfSteps(hook)) {
    const { length } = stepsIn(hook).run;
    return { kind: `directory of ${length} ${length === 1 ? 'step' : 'steps'}`, target, about: '' };
  }
  const text = readHead(path, headBytes)?.toString('utf8') ?? null;
  return { kind: kindOf(text), target, about: aboutOf(text, basename(real)) };
}
