/*
 * QEMU's own option style (util/qemu-option.c): `first,key=value,...`, where `,,` is a literal comma.
 */

/** Cuts an option's value at its commas. */
export function splitOpts(text: string): string[] {
  const literalComma = '\0';
  return text
    .replaceAll(',,', literalComma)
    .split(',')
    .map((part) => part.replaceAll(literalComma, ','));
}

/** One `key=value`; a word without `=` has no value. */
export function splitPair(part: string): { key: string; value: string | undefined } {
  const at = part.indexOf('=');
  return at === -1 ? { key: part, value: undefined } : { key: part.slice(0, at), value: part.slice(at + 1) };
}
