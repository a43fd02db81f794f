/*
 * QEMU's own option style (util/qemu-option.c): `first,key=value,...`, where `,,` in a value is a literal comma.
 */

interface Opt {
  /** `null` for a first word without a key. */
  readonly key: string | null;
  /** `undefined` for a key alone. */
  readonly value: string | undefined;
}

/** The value at the beginning of `text`, up to a comma that is not doubled, and what is left with that comma. */
function takeValue(text: string): { value: string; rest: string } {
  const raw = /^(?:[^,]|,,)*/.exec(text)?.[0] ?? '';
  return { value: raw.replaceAll(',,', ','), rest: text.slice(raw.length) };
}

/** Reads an option's value as QEMU does, in its order. */
export function readOpts(text: string): Opt[] {
  const opts: Opt[] = [];
  for (let rest = text; rest !== '' || opts.length === 0; ) {
    const word = /^[^=,]*/.exec(rest)?.[0] ?? '';
    if (rest[word.length] === '=') {
      const taken = takeValue(rest.slice(word.length + 1));
      opts.push({ key: word, value: taken.value });
      rest = taken.rest;
    } else if (opts.length === 0) {
      const taken = takeValue(rest);
      opts.push({ key: null, value: taken.value });
      rest = taken.rest;
    } else {
      opts.push({ key: word, value: undefined });
      rest = rest.slice(word.length);
    }
    rest = rest.slice(1);
  }
  return opts;
}
