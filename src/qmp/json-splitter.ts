/** A command longer than this is none; what was read of it is dropped, so that memory stays bounded. */
const longestText = 16 * 1024 * 1024;

const quote = 0x22;
const apostrophe = 0x27;
const backslash = 0x5c;
const openBrace = 0x7b;
const closeBrace = 0x7d;
const openBracket = 0x5b;
const closeBracket = 0x5d;
const resetByte = 0xff;

/**
 * Cuts what a QMP client writes into JSON texts, as QEMU's own lexer does: with line feeds between them or without,
 * strings in either kind of quotes, and a byte 0xFF that forgets what was begun (docs/interop/qmp-spec of QEMU).
 * @param onText takes a whole `{...}` or `[...]`, or a run of other characters up to white space
 * @returns the function that takes the next chunk
 */
export function jsonSplitter(onText: (text: string) => void): (chunk: Buffer) => void {
  let pieces: Buffer[] = [];
  let length = 0;
  let depth = 0;
  let string = 0;
  let escaped = false;
  const forget = (): void => {
    pieces = [];
    length = 0;
    depth = 0;
    string = 0;
    escaped = false;
  };
  return (chunk) => {
    let start = 0;
    const flush = (end: number): void => {
      pieces.push(chunk.subarray(start, end));
      const text = Buffer.concat(pieces).toString('utf8').trim();
      forget();
      start = end;
      if (text !== '') onText(text);
    };
    for (let at = 0; at < chunk.length; at++) {
      const byte = chunk[at] as number;
      if (byte === resetByte) {
        forget();
        start = at + 1;
      } else if (string !== 0) {
        if (escaped) escaped = false;
        else if (byte === backslash) escaped = true;
        else if (byte === string) string = 0;
      } else if (byte === openBrace || byte === openBracket) {
        if (depth === 0) flush(at);
        depth++;
      } else if (byte === closeBrace || byte === closeBracket) {
        depth = Math.max(0, depth - 1);
        if (depth === 0) flush(at + 1);
      } else if (depth > 0) {
        if (byte === quote || byte === apostrophe) string = byte;
      } else if (byte <= 0x20) {
        flush(at + 1);
      }
    }
    if (start < chunk.length) {
      pieces.push(chunk.subarray(start));
      length += chunk.length - start;
    }
    if (length > longestText) forget();
  };
}

/**
 * Reads one JSON text, with strings in either kind of quotes.
 * @returns `undefined` if it is none
 */
export function readJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Perhaps in QEMU's own style.
  }
  // Each string as it is, in double quotes; what lies between two of them has none.
  const standard = text.replaceAll(/"(?:[^"\\]|\\.)*"|'((?:[^'\\]|\\.)*)'/gs, (whole, single: string | undefined) =>
    single === undefined ? whole : `"${single.replaceAll("\\'", "'").replaceAll(/(?<!\\)"/g, '\\"')}"`,
  );
  try {
    return JSON.parse(standard);
  } catch {
    return undefined;
  }
}
