import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Token, Tokens } from 'marked';
import { version } from '../../package.json';
import { options } from '../../src/options/table.js';
import { bash, fish, zsh, type Described } from '../completions/completions.js';
import { block, sectionsOf, type Section } from './roff.js';

/*
 * make.mjs DIR: writes the manual pages, which are made of the README, and the completions of the shells, which are made
 * of the table of options, into DIR.
 */

const [directory = 'dist'] = process.argv.slice(2);
const readme = readFileSync('README.md', 'utf8');
const sections = sectionsOf(readme);

function section(title: string): Section {
  const found = sections.find((each) => each.title === title);
  if (found === undefined) throw new Error(`the README has no section '${title}'`);
  return found;
}

interface Part {
  readonly title: string;
  /** The README's sections it is made of. */
  readonly from: readonly string[];
  /** Leaves blocks out. */
  readonly but?: (token: Token, i: number) => boolean;
}

interface Page {
  readonly name: string;
  readonly number: number;
  readonly about: string;
  readonly synopsis: boolean;
  readonly parts: readonly Part[];
  readonly seeAlso: readonly string[];
}

const isCode = ({ type }: Token): boolean => type === 'code';

const pages: readonly Page[] = [
  {
    name: 'qemu-trap',
    number: 1,
    about: 'run QEMU as a service that shuts its guest down cleanly',
    synopsis: true,
    parts: [
      // The rest of it is how to see and install it.
      { title: 'DESCRIPTION', from: [''], but: (_, i) => i > 0 },
      { title: 'EXAMPLES', from: ['As a service'] },
      { title: 'OPTIONS', from: ['Options'], but: (token, i) => isCode(token) && i < 2 },
      { title: 'EXIT STATUS', from: ['Exit status and last line'] },
      { title: 'FILES AND ENVIRONMENT', from: ['Files and environment'] },
      { title: 'WHEN A VM DOES NOT STOP', from: ['When a VM does not stop'] },
      { title: 'LOOKING AT VMS', from: ['Looking at it'] },
      { title: 'LOG', from: ['The log'] },
      { title: 'WHEN QEMU-TRAP ITSELF IS KILLED', from: ['When qemu-trap itself is killed'] },
      { title: 'SERVICE MANAGERS', from: ['Under a service manager'] },
      { title: 'GUESTS', from: ['Guests'] },
      { title: 'SECURITY', from: ['Security'] },
      { title: 'LIMITS', from: ['Limits'] },
      { title: 'NOTES', from: ['How it works'] },
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
    about: 'what qemu-trap runs on a signal, before QEMU and after it',
    synopsis: false,
    parts: [
      { title: 'DESCRIPTION', from: ['Writing a hook'] },
      { title: 'THE CONTRACT', from: ['The contract with hooks'] },
    ],
    seeAlso: ['qemu-trap(1)', 'run-parts(8)', 'sysexits(3)'],
  },
];

/** When the source was changed last, for the same source the same page. */
function date(): string {
  const epoch = process.env['SOURCE_DATE_EPOCH'];
  return (epoch ? new Date(Number(epoch) * 1000) : statSync('README.md').mtime).toISOString().slice(0, 10);
}

function synopsis(): string {
  const { text } = section('Options').blocks.find(isCode) as Tokens.Code;
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

function render({ name, number, about, parts, seeAlso, synopsis: hasSynopsis }: Page): string {
  const escaped = name.replaceAll('-', '\\-');
  const lines = [
    `.\\" Made of README.md.`,
    `.TH ${escaped.toUpperCase()} ${number} ${date()} "qemu-trap ${version}"`,
    '.SH NAME',
    `${escaped} \\- ${about}`,
    ...(hasSynopsis ? ['.SH SYNOPSIS', synopsis()] : []),
  ];
  for (const { title, from, but } of parts) {
    const blocks = from.flatMap((each) =>
      section(each)
        .blocks.filter(({ type }) => type !== 'space')
        .filter((token, i) => !(but?.(token, i) ?? false)),
    );
    // A paragraph macro right after a heading would be a second gap.
    const [first = '', ...rest] = blocks.map(block).filter((text) => text !== '');
    lines.push(`.SH ${title}`, first.replace(/^\.PP\n/, ''), ...rest);
  }
  lines.push('.SH SEE ALSO', see(seeAlso));
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
for (const page of pages) write(`man/${page.name}.${page.number}`, render(page));
write('completions/qemu-trap.bash', bash(described));
write('completions/_qemu-trap', zsh(described));
write('completions/qemu-trap.fish', fish(described));
