import { readdirSync, readFileSync } from 'node:fs';
import { splitFrontMatter } from '../../packaging/manual/front-matter.js';

/** The pages that people read, from the root of the project. */
export const pages: readonly string[] = [
  'README.md',
  'CONTRIBUTING.md',
  'examples/README.md',
  'examples/hooks/README.md',
  ...readdirSync('docs').map((name) => `docs/${name}`),
];

/** A page in Markdown, without what is at its head for the manual. */
export function bodyOf(page: string): string {
  return splitFrontMatter(readFileSync(page, 'utf8')).markdown;
}
