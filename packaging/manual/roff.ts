import { marked, type Token, type Tokens } from 'marked';

/*
 * Markdown, as far as docs/ uses it, in the macros of man(7).
 */

const longestLine = 78;

function escapeText(text: string): string {
  return text.replaceAll('\\', '\\e');
}

/** Characters that a reader may want to copy as they are (groff_char(7)). */
function escapeCode(text: string): string {
  return escapeText(text)
    .replaceAll('-', '\\-')
    .replaceAll("'", '\\(aq')
    .replaceAll('`', '\\(ga')
    .replaceAll('^', '\\(ha')
    .replaceAll('~', '\\(ti');
}

const bold = (text: string): string => `\\fB${text}\\fR`;

/** What a page knows of the others. */
export interface Style {
  /** The words for a link to another page; `null`: the link's own. */
  readonly wordOfLink: (href: string) => string | null;
  /** Whether a heading is a subsection of the manual, or a line in bold. */
  readonly isSubsection: (heading: Tokens.Heading) => boolean;
}

function inline(tokens: readonly Token[], style: Style): string {
  return tokens
    .map((token): string => {
      switch (token.type) {
        case 'codespan':
          return bold(escapeCode(token.raw.replace(/^`+|`+$/g, '')));
        case 'strong':
          return bold(inline((token as Tokens.Strong).tokens, style));
        case 'em':
          return `\\fI${inline((token as Tokens.Em).tokens, style)}\\fR`;
        case 'link':
          return style.wordOfLink((token as Tokens.Link).href) ?? inline((token as Tokens.Link).tokens, style);
        case 'image':
          return '';
        case 'escape':
          return escapeText((token as Tokens.Escape).text);
        case 'text':
          return escapeText(token.raw);
        default:
          throw new Error(`a manual page has no form for ${token.type}: ${token.raw}`);
      }
    })
    .join('');
}

/** A line that begins with one of these would be a request (groff(7)). */
function guard(line: string): string {
  return /^[.']/.test(line) ? `\\&${line}` : line;
}

/** Filled text: a sentence begins a line, and none is too long. */
function fill(text: string): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(/\s+/)) {
    const endsSentence = /[.!?](\\fR)?[)"]?$/.test(line);
    if (line !== '' && (endsSentence || line.length + 1 + word.length > longestLine)) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  if (line !== '') lines.push(line);
  return lines.map(guard).join('\n');
}

/** Plain words as a paragraph. */
export function paragraph(text: string): string {
  return `.PP\n${fill(escapeText(text))}`;
}

function tag(label: string): string {
  return `.TP\n${guard(label)}`;
}

/** What stands for itself: an entry of these needs no heading before it. */
const ownWords = ['signal', 'status', 'exit status', 'guest', 'machine', 'word', 'what a hook gets'];

function capital(text: string): string {
  return `${text[0]?.toUpperCase()}${text.slice(1)}`;
}

/** A table as a list: the first cell, and what the others say of it, each under its heading if there are several. */
function table({ header, rows }: Tokens.Table, style: Style): string {
  const headings = header.map(({ text }) => escapeText(text));
  // What is said of an option needs no heading; of several things, each has its own.
  const isPlain = headings.length <= 2 || headings[1] === 'meaning';
  const entries = rows.map(([first, ...rest]) => {
    const cells = rest.flatMap((cell, i) => {
      const text = inline(cell.tokens, style);
      if (text === '') return [];
      const heading = headings[i + 1] ?? '';
      const labelled = heading !== '' && !(isPlain && i === 0);
      return labelled ? `${capital(heading)}: ${text}.` : /[.:]$/.test(text) ? text : `${text}.`;
    });
    const tokens = first?.tokens ?? [];
    const isOfPhrases =
      headings[0] !== '' && !ownWords.includes(headings[0] ?? '') && tokens.every(({ type }) => type === 'text');
    const label = `${isOfPhrases ? `${capital(headings[0] ?? '')}: ` : ''}${inline(tokens, style)}`;
    return `${tag(label)}\n${cells.length > 0 ? fill(cells.join(' ')) : '\\&'}`;
  });
  return entries.join('\n');
}

function code({ text }: Tokens.Code): string {
  const lines = text.split('\n').map((line) => guard(escapeCode(line)) || '\\&');
  return ['.PP', '.in +4n', '.EX', ...lines, '.EE', '.in'].join('\n');
}

function list({ items, ordered }: Tokens.List, style: Style): string {
  return items
    .map(({ tokens }, i) => {
      const [mark, indent] = ordered ? [`${i + 1}.`, 4] : ['\\(bu', 2];
      const [first, ...rest] = tokens;
      const inlines = first !== undefined && 'tokens' in first && first.tokens ? first.tokens : [];
      return [
        `.IP ${mark} ${indent}\n${fill(inline(inlines, style))}`,
        ...rest.filter(({ type }) => type !== 'space').map((each) => `.RS ${indent}\n${block(each, style)}\n.RE`),
      ].join('\n');
    })
    .join('\n');
}

/** One block in man(7). */
export function block(token: Token, style: Style): string {
  switch (token.type) {
    case 'paragraph': {
      const text = inline((token as Tokens.Paragraph).tokens, style).trim();
      return text === '' ? '' : `.PP\n${fill(text)}`;
    }
    case 'table':
      return table(token as Tokens.Table, style);
    case 'code':
      return code(token as Tokens.Code);
    case 'list':
      return list(token as Tokens.List, style);
    case 'heading':
      return `${style.isSubsection(token as Tokens.Heading) ? '.SS' : '.PP\n.B'} ${inline((token as Tokens.Heading).tokens, style)}`;
    case 'space':
      return '';
    default:
      throw new Error(`a manual page has no form for ${token.type}: ${token.raw}`);
  }
}

export interface Section {
  readonly title: string;
  readonly blocks: readonly Token[];
}

/** The sections of the second level, and what is before the first of them under the title ''. */
export function sectionsOf(markdown: string): Section[] {
  const sections: { title: string; blocks: Token[] }[] = [{ title: '', blocks: [] }];
  for (const token of marked.lexer(markdown)) {
    if (token.type === 'heading' && token['depth'] === 2) sections.push({ title: String(token['text']), blocks: [] });
    else if (token.type !== 'heading' || token['depth'] !== 1) sections.at(-1)?.blocks.push(token);
  }
  return sections;
}
