/** What is at the head of a page in docs/, and the page itself in Markdown. */
export function splitFrontMatter(text: string): {
  readonly facts: Readonly<Record<string, string>>;
  readonly markdown: string;
} {
  const front = /^---\n([\s\S]*?)\n---\n/.exec(text);
  const facts = Object.fromEntries((front?.[1] ?? '').split('\n').map((line) => line.split(/: (.*)/).slice(0, 2)));
  return { facts, markdown: text.slice(front?.[0].length ?? 0) };
}
