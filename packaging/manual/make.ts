import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Token, Tokens } from 'marked';
import { version } from '../../package.json';
import { options } from '../../src/options/table.js';
import { bash, fish, zsh, type Described } from '../completions/completions.js';
import { splitFrontMatter } from './front-matter.js';
import { block, paragraph, sectionsOf, type Section } from './roff.js';

/*
 * make.mjs DIR: writes the manual pages, which are made of docs/, and the completions of the shells, which are made of
 * the table of options, into DIR.
 *
 * The front matter of a page in docs/ says where it belongs: `man`, the manual page; `order`, its place there; `title`, the
 * section it is; or `split`, that each of its sections is one of the manual's. `only` names the one section of the page
 * that is taken. Pages of one title become subsections.
 */

const [directory = 'dist'] = process.argv.slice(2);

interface Manual {
  readonly name: string;
  readonly number: number;
  readonly about: string;
  /** What comes before the page's own sections. */
  readonly synopsis?: readonly string[];
  /** The sections in their order; others follow, and {@link lastSections}. */
  readonly order: readonly string[];
  readonly seeAlso: readonly string[];
}

const manuals: readonly Manual[] = [
  {
    name: 'qemu-trap',
    number: 1,
    about: 'run QEMU as a service that shuts its guest down cleanly',
    order: [
      'SYNOPSIS',
      'DESCRIPTION',
      'OPTIONS',
      'SIGNALS',
      'HOOKS',
      'ENVIRONMENT',
      'FILES',
      'EXIT STATUS',
      'STATUS AND LOG',
    ],
    seeAlso: [
      'qemu-trap-hooks(7)',
      'qemu-system(1)',
      'timeout(1)',
      'systemd.service(5)',
      'sd_notify(3)',
      'signal(7)',
      'qemu-ga(8)',
    ],
  },
  {
    name: 'qemu-trap-hooks',
    number: 7,
    about: 'programs that qemu-trap runs on signals and events',
    synopsis: ['SIGNAL', 'SIGNAL.d/*', 'start', 'ready', 'EVENT', 'end'].map((name) => `/etc/qemu-trap/hooks/${name}`),
    order: ['SYNOPSIS', 'DESCRIPTION', 'INTERFACE', 'EXIT STATUS', 'ENVIRONMENT', 'COMMANDS', 'BUNDLED HOOKS'],
    seeAlso: ['qemu-trap(1)', 'run-parts(8)'],
  },
];

const lastSections = ['EXAMPLES', 'NOTES'];

const nameOf = ({ name, number }: Manual): string => `${name}(${number})`;

interface Page {
  readonly file: string;
  readonly heading: string;
  /** Of its front matter. */
  readonly facts: Readonly<Record<string, string>>;
  readonly sections: readonly Section[];
}

function readPage(file: string): Page {
  const { facts, markdown } = splitFrontMatter(readFileSync(join('docs', file), 'utf8'));
  return { file, heading: /^# (.*)$/m.exec(markdown)?.[1] ?? file, facts, sections: sectionsOf(markdown) };
}

const docs = readdirSync('docs')
  .filter((file) => file.endsWith('.md'))
  .map(readPage)
  .sort((a, b) => Number(a.facts['order'] ?? 0) - Number(b.facts['order'] ?? 0));

/** The date of the sources (packaging/epoch.sh): for the same sources the same page. */
function date(): string {
  return new Date(Number(process.env['SOURCE_DATE_EPOCH']) * 1000).toISOString().slice(0, 10);
}

function synopsis({ text }: Tokens.Code): string {
  return text
    .split('\n')
    .map((line) =>
      line
        .trim()
        .split(/ +/)
        .map((word) =>
          /^(qemu-trap|--?[a-z-]*)/.test(word)
            ? `\\fB${word.replaceAll('-', '\\-')}\\fR`
            : word.replaceAll('-', '\\-').replace(/[A-Z]{2,}/g, '\\fI$&\\fR'),
        )
        .join(' '),
    )
    .join('\n.br\n');
}

function see(names: readonly string[]): string {
  return names
    .map((name, i) => `.BR ${name.replace('(', ' (').replaceAll('-', '\\-')}${i < names.length - 1 ? ' ,' : ''}`)
    .map((line) => line.replace(') ,', '),'))
    .join('\n');
}

function render(manual: Manual): string {
  const { name, number, about, order, seeAlso } = manual;
  // A page of the same manual by its section, one of the other by that manual's name, one of none by its file.
  const wordOfLink = (href: string): string | null => {
    const page = docs.find(({ file }) => href === file);
    if (page === undefined) return null;
    const of = page.facts['man'];
    if (of === undefined || page.facts['only'] !== undefined) return `\\fIdocs/${href.replaceAll('-', '\\-')}\\fR`;
    if (of !== nameOf(manual)) return `\\fB${of.replaceAll('-', '\\-')}\\fR`;
    const title = page.facts['title'] ?? page.heading.toUpperCase();
    return title === 'NOTES' ? `NOTES, ${page.heading}` : title;
  };
  const words = (tokens: readonly Token[], depth: number): string =>
    tokens
      .map((token) => block(token, { wordOfLink, isSubsection: (heading) => heading.depth <= depth }))
      .filter((text) => text !== '')
      .join('\n');
  const sections = new Map<string, string[]>();
  const add = (title: string, text: string): void => {
    if (text !== '') sections.set(title, [...(sections.get(title) ?? []), text]);
  };
  if (manual.synopsis)
    add('SYNOPSIS', manual.synopsis.map((line) => `.B ${line.replaceAll('-', '\\-')}`).join('\n.br\n'));
  const own = docs.filter(({ facts }) => facts['man'] === nameOf(manual));
  for (const { heading, facts, sections: parts } of own) {
    if (facts['split'] === 'yes') {
      for (const { title, blocks } of parts) {
        const code = blocks.find(({ type }) => type === 'code') as Tokens.Code;
        if (title === 'Synopsis') add('SYNOPSIS', synopsis(code));
        else add(title === '' ? 'DESCRIPTION' : title.toUpperCase(), words(blocks, 3));
      }
      continue;
    }
    const title = String(facts['title']);
    const isOneOfSeveral = own.filter(({ facts: each }) => each['title'] === title).length > 1;
    const taken = facts['only'] === undefined ? parts : parts.filter(({ title: part }) => part === facts['only']);
    const bodies = taken.map(({ title: part, blocks }) => {
      const isPlain = ['', 'Interface', 'Detailed operation'].includes(part);
      const head = isPlain ? '' : isOneOfSeveral ? `.PP\n.B ${part}` : `.SS ${part}`;
      return [head, words(blocks, isOneOfSeveral ? 0 : 3)].filter((text) => text !== '').join('\n');
    });
    add(title, [...(isOneOfSeveral ? [`.SS ${heading}`] : []), ...bodies].join('\n'));
  }
  // What a hook is, and where the rest of it is.
  const hooks = docs.find(({ file }) => file === 'hooks.md');
  if (number === 1 && hooks) add('HOOKS', words(hooks.sections[0]?.blocks ?? [], 0));
  if (number === 1) {
    const elsewhere = docs
      .filter(({ facts }) => facts['man'] === undefined || facts['only'] !== undefined)
      .map(({ file, heading }) => `docs/${file} (${heading})`);
    const where = 'The Debian package has docs and examples in /usr/share/doc/qemu-trap.';
    add('NOTES', `.SS More pages\n${paragraph(`${where} What is not in this page: ${elsewhere.join(', ')}.`)}`);
  }
  const titles = [...sections.keys()];
  const sorted = [
    ...order.filter((title) => titles.includes(title)),
    ...titles.filter((title) => !order.includes(title) && !lastSections.includes(title)),
    ...lastSections.filter((title) => titles.includes(title)),
  ];
  const escaped = name.replaceAll('-', '\\-');
  const lines = [
    '.\\" Made of docs/.',
    `.TH ${escaped.toUpperCase()} ${number} ${date()} "qemu-trap ${version}"`,
    // Words to copy are not to be broken, nor stretched.
    '.nr HY 0',
    '.nh',
    '.ad l',
    '.SH NAME',
    `${escaped} \\- ${about}`,
    ...sorted.flatMap((title) => [`.SH ${title}`, ...(sections.get(title) ?? [])]),
    '.SH SEE ALSO',
    see(seeAlso),
  ];
  // A paragraph macro right after a heading would be a second gap.
  return `${lines.join('\n').replaceAll(/(\.S[HS] [^\n]*\n)\.PP\n/g, '$1')}\n`;
}

/** What `--help` says of each option, to its first stop. */
const described: readonly Described[] = options.map((option) => ({
  ...option,
  meaning: option.help.split(/[,;:(]/)[0]?.trim() ?? '',
}));

const write = (name: string, text: string): void => writeFileSync(join(directory, name), text);
mkdirSync(join(directory, 'man'), { recursive: true });
mkdirSync(join(directory, 'completions'), { recursive: true });
for (const manual of manuals) write(`man/${manual.name}.${manual.number}`, render(manual));
write('completions/qemu-trap.bash', bash(described));
write('completions/_qemu-trap', zsh(described));
write('completions/qemu-trap.fish', fish(described));
