import { takesValue } from '../qemu/argv.js';
import { isQemu } from '../qemu/wrappers.js';
import { UsageError } from '../system/usage-error.js';

/*
 * `-signal SPEC` among QEMU's options, as the proposal to QEMU had it: a rule of ours, which QEMU does not get.
 */

/** How the proposal writes it. */
const option = '-signal';

/**
 * Takes the rules out of a command line for QEMU.
 * @throws {UsageError} for one without a rule
 */
export function takeSignalsOut(words: readonly string[]): {
  readonly qemu: readonly string[];
  readonly specs: readonly string[];
} {
  const specs: string[] = [];
  const qemu: string[] = [];
  // What stands before QEMU are options of another program, and its name is no option.
  const first = Math.max(0, words.findIndex(isQemu)) + 1;
  for (let i = 0; i < words.length; i++) {
    const word = words[i] as string;
    // Behind `-append`, say, it is a value.
    const isOurs = word === option && i >= first && (i === first || !takesValue(words[i - 1] as string));
    if (!isOurs) {
      qemu.push(word);
      continue;
    }
    const spec = words[++i];
    if (spec === undefined)
      throw new UsageError(`${option}: no rule follows: write one, such as ${option} SIGTERM,script=powerdown`);
    const next = words[i + 1] ?? '';
    if (/^(script|monitorcommand|timeout|default)=/.test(next))
      throw new UsageError(
        `${option} ${spec} ${next}: a rule is one word, with commas: write ${option} ${spec.replace(/,$/, '')},${next}`,
      );
    specs.push(spec);
  }
  return { qemu, specs };
}
