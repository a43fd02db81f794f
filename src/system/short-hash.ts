/**
 * Eight hexadecimal digits that stand for `text` in a name: FNV-1a, 32 bits, of its UTF-8. It keeps nothing secret;
 * loading OpenSSL for it would cost every start of a VM several milliseconds.
 */
export function shortDigest(text: string): string {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  return (hash >>> 0).toString(16).padStart(8, '0');
}
