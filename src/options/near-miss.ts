import { takesValue } from '../qemu/argv.js';
import { isQemu } from '../qemu/wrappers.js';
import { nearest } from '../system/near-miss.js';
import { parseSpan } from '../system/duration.js';
import { UsageError } from '../system/usage-error.js';
import { options } from './table.js';

/*
 * What was meant by a word that is not right where it stands.
 */

const names = options.map(({ name }) => name);
/** QEMU has options of these names, too. */
const alsoOfQemu = ['name', 'version', 'help'];
/** @param option as it was written, without its value */
export function unknownOption(option: string): UsageError {
  const meant = /^-{1,2}[a-z-]+$/i.test(option) ? nearest(option.replace(/^-+/, '').toLowerCase(), names) : null;
  return new UsageError(
    meant === null
      ? `unknown option '${option}': qemu-trap --help lists the options (QEMU's own go after --)`
      : `unknown option '${option}': write --${meant} (QEMU's own options go after --)`,
  );
}

/** Subcommands of other tools, and what qemu-trap has in their place. */
const subcommands: Readonly<Record<string, string>> = {
  start: 'qemu-trap -- qemu-system-x86_64 ...',
  run: 'qemu-trap -- qemu-system-x86_64 ...',
  list: 'qemu-trap --status',
  ps: 'qemu-trap --status',
};

/** @throws {UsageError} for a word that is no program, but one of our options without its dashes, or a subcommand */
export function refuseSubcommand(word: string): void {
  const meant = names.includes(word) ? `--${word}` : Object.hasOwn(subcommands, word) ? subcommands[word] : undefined;
  if (meant === undefined) return;
  throw new UsageError(`${word}: qemu-trap has no subcommands: write ${meant} (or -- ${word} to run that program)`);
}

/** @throws {UsageError} for a word that is no program, but the rest of a time that wants quotes */
export function refuseTimeInPieces(own: readonly string[], word: string): void {
  const [before = ''] = own.slice(-1);
  const time = `${before.replace(/^--[a-z-]+=/, '')} ${word}`;
  if (parseSpan(before.replace(/^--[a-z-]+=/, '')) === null || parseSpan(time) === null) return;
  throw new UsageError(
    `${word}: this looks like the rest of a time: write '${time}' in quotes, or ${time.replace(/ /g, '')}`,
  );
}

/** @throws {UsageError} for a word among QEMU's options that is meant for `-signal`, and that QEMU has not */
function refuseNearSignal(qemu: readonly string[]): void {
  const found = qemu.find((word, i) => {
    const name = /^-([a-z]+)(=|$)/.exec(word)?.[1] ?? '';
    const isNear = nearest(name, ['signal']) !== null && (name !== 'signal' || word.includes('='));
    return isNear && i > 0 && !takesValue(qemu[i - 1] as string);
  });
  if (found !== undefined)
    throw new UsageError(
      `${found}: QEMU has no such option: write -signal SPEC, such as -signal SIGTERM,script=powerdown`,
    );
}

/** @throws {UsageError} for an option of ours that stands among QEMU's */
export function refuseMisplaced(qemu: readonly string[]): void {
  const first = /^--([a-z-]+)(=|$)/.exec(qemu[0] ?? '')?.[1] ?? '';
  if (names.includes(first))
    throw new UsageError(`${qemu[0]}: this option of qemu-trap comes after --: write it before`);
  const at = qemu.findIndex(isQemu);
  if (at === -1) return;
  refuseNearSignal(qemu.slice(at));
  const misplaced = qemu.slice(at + 1).find((word, i) => {
    const name = /^--([a-z-]+)(=|$)/.exec(word)?.[1] ?? '';
    return names.includes(name) && !alsoOfQemu.includes(name) && !takesValue(qemu[at + i] ?? '');
  });
  if (misplaced === undefined) return;
  throw new UsageError(`${misplaced}: this option of qemu-trap is among QEMU's options: write it before ${qemu[0]}`);
}
