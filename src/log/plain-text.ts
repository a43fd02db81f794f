/*
 * Text from outside (QEMU, the guest's agent, hooks, names, files) as it may reach a terminal or a log.
 */

/**
 * Control characters but tab and line feed, the separators of lines and paragraphs, and the marks that turn the
 * direction of a text (Unicode Standard Annex 9): each can show something else than what is there.
 */
const unsafe = /(?![\t\n])[\p{Cc}\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;

/** What a reader may be shown: a carriage return is the end of a line, and the rest a question mark. */
export function plainText(text: string): string {
  return text.replaceAll(/\r\n?/g, '\n').replaceAll(unsafe, '?');
}

/** The same on one line: `instead` stands for each end of a line, with the white space round it. */
export function plainLine(text: string, instead: string): string {
  return plainText(text).replaceAll(/\s*\n\s*/g, instead);
}

/** The same for an object as JSON writes it, which loses nothing. */
export function plainJson(json: string): string {
  return json.replaceAll(unsafe, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
