import { basename } from 'node:path';
import { isDirectory } from '../system/is-there.js';
import { shellQuote, type Fault } from '../system/permissions.js';
import { findInPath, isExecutable } from '../system/search-path.js';
import { readHead } from '../system/small-file.js';

/** What the kernel reads of a script to find its interpreter (BINPRM_BUF_SIZE; execve(2)). */
const headBytes = 256;

/** `''` if a program may be executable and not readable. */
function firstLine(path: string): string {
  return readHead(path, headBytes)?.toString('latin1').split('\n', 1)[0] ?? '';
}

/** Options of env(1) whose value is the next word. */
const valuedByEnv: readonly string[] = ['-u', '--unset', '-C', '--chdir', '-a', '--argv0'];

/** What env(1) is to run: the first word that is neither an option, nor an option's value, nor a variable. */
function programOfEnv(line: string): string | null {
  // Quotes, escapes and variables are -S's own language, which is not read here.
  if (/["'\\$]/.test(line)) return null;
  const words = line.split(/[ \t]+/).filter((word) => word !== '');
  for (let i = 0; i < words.length; i++) {
    const word = words[i] as string;
    if (valuedByEnv.includes(word)) i++;
    else if (!word.startsWith('-') && !word.includes('=')) return word;
  }
  return null;
}

/** What the first line of a script names. */
interface FirstLine {
  /** What the kernel executes; `null`: it is no script. */
  readonly interpreter: string | null;
  /** What that is to run, if it is env(1), and it can be told. */
  readonly program: string | null;
}

function readFirstLine(line: string): FirstLine {
  const [, interpreter = null, rest = ''] = /^#![ \t]*([^ \t]+)[ \t]*(.*)$/.exec(line) ?? [];
  const isEnv = interpreter !== null && basename(interpreter) === 'env';
  return { interpreter, program: isEnv ? programOfEnv(rest) : null };
}

/**
 * The program that runs a script, as its first line names it, with what env(1) would look for on `searchPath`.
 * @returns `null` if it names none, or that cannot be told
 */
export function interpreterOf(path: string, searchPath: string): string | null {
  const { interpreter, program } = readFirstLine(firstLine(path));
  if (interpreter === null || basename(interpreter) !== 'env') return interpreter;
  return program === null || program.includes('/') ? program : findInPath(searchPath, program);
}

/** Whether the interpreter that a script's first line names is there to run it. */
export function findInterpreterFault(path: string, searchPath: string): Fault | null {
  const line = firstLine(path);
  const { interpreter, program } = readFirstLine(line);
  if (interpreter === null) return null;
  if (line.endsWith('\r')) {
    return {
      what: 'its first line ends in a carriage return, which the kernel takes as part of the interpreter',
      fix: `sed -i 's/\\r$//' ${shellQuote(path)}`,
    };
  }
  const edit = `\${EDITOR:-vi} ${shellQuote(path)}`;
  const missing = (name: string): Fault => {
    const elsewhere = findInPath(searchPath, basename(name));
    return {
      what: `its interpreter ${name} does not exist`,
      fix: elsewhere === null ? edit : `sed -i '1s|${name}|${elsewhere}|' ${shellQuote(path)}`,
    };
  };
  if (isDirectory(interpreter)) return { what: `its interpreter ${interpreter} is a directory`, fix: edit };
  if (!isExecutable(interpreter)) return missing(interpreter);
  if (line.trimEnd() === `#!${interpreter}` && basename(interpreter) === 'env')
    return { what: `its first line gives ${interpreter} no interpreter to run`, fix: edit };
  if (program === null) return null;
  const isThere = program.includes('/') ? isExecutable(program) : findInPath(searchPath, program) !== null;
  return isThere ? null : missing(program);
}
