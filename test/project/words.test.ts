import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { marked, type Token, type Tokens } from 'marked';
import { bodyOf, pages } from '../support/pages.js';

/*
 * The English of README and docs, as far as a program can read it.
 */

const mostWords = 30;
const longestLine = 120;

/** The texts of a page: paragraphs, items and cells, without code. */
function textsOf(tokens: readonly Token[]): string[] {
  return tokens.flatMap((token): string[] => {
    if (token.type === 'code' || token.type === 'space') return [];
    if (token.type === 'table') {
      const { header, rows } = token as Tokens.Table;
      return [header, ...rows].flat().map(({ text }) => text);
    }
    if (token.type === 'list')
      return (token as Tokens.List).items.flatMap(({ tokens: item }) =>
        item.flatMap((each) => (each.type === 'text' ? [(each as Tokens.Text).text] : textsOf([each]))),
      );
    return [String((token as { text?: string }).text ?? '')];
  });
}

/** Code counts as one word, and a link as the words that are shown. */
function sentencesOf(text: string): string[] {
  return text
    .replaceAll(/`[^`]*`/g, 'CODE')
    .replaceAll(/!?\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replaceAll(/\s+/g, ' ')
    .split(/(?<=[.!?:;])\s+(?=["'(*]*[A-Z])|(?<=[:;])\s+/)
    .map((sentence) => sentence.trim())
    .filter(Boolean);
}

const wordsIn = (sentence: string): number => sentence.split(' ').filter((word) => /[\p{L}\d]/u.test(word)).length;

const sentences = pages.flatMap((page) =>
  textsOf(marked.lexer(bodyOf(page)))
    .flatMap(sentencesOf)
    .map((sentence) => ({ page, sentence })),
);

test(`no sentence of README and docs has more than ${mostWords} words`, () => {
  const long = sentences.filter(({ sentence }) => wordsIn(sentence) > mostWords);
  assert.deepEqual(
    long.map(({ page, sentence }) => `${page}: ${wordsIn(sentence)}: ${sentence}`),
    [],
  );
});

test('a sentence that is too long is found', () => {
  assert.equal(wordsIn(`It ${'goes '.repeat(mostWords)}on.`), mostWords + 2);
  assert.deepEqual(sentencesOf('One. Two `a. B` [three](x.md). four'), ['One.', 'Two CODE three. four']);
});

/** Words that the house rules give up, and what to write. */
const givenUp: readonly [RegExp, string][] = [
  [/\b(nobody|somebody|whoever|whomever)\b/i, 'name who acts'],
  [/^What\b.*\.$/, 'begin with what the sentence is about'],
  [/\b(whatever|whichever) becomes of\b/i, 'whatever happens to'],
  [/\bmend(s|ed|ing)?\b(?!`)/i, 'fix'],
  [/\bgoes (away|down)\b/i, 'exits, shuts down'],
];

test('the words that the house rules give up are in none of them', () => {
  const found = sentences.flatMap(({ page, sentence }) =>
    givenUp.filter(([word]) => word.test(sentence)).map(([, better]) => `${page}: ${better}: ${sentence}`),
  );
  assert.deepEqual(found, []);
});

test(`no line has more than ${longestLine} columns, besides tables, links and code`, () => {
  const long = pages.flatMap((page) =>
    bodyOf(page)
      .replaceAll(/^```[\s\S]*?^```/gm, '')
      .split('\n')
      .filter((line) => line.length > longestLine && !/^(\||!\[| {4}|.*\]\()/.test(line))
      .map((line) => `${page}: ${line}`),
  );
  assert.deepEqual(long, []);
});

/** As a heading's anchor is made on the web: lower case, punctuation gone, blanks as dashes. */
function anchorsOf(page: string): string[] {
  return [...bodyOf(page).matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\d\s_-]/gu, '')
      .replaceAll(' ', '-'),
  );
}

test('every link leads to a file that is there, and to a heading of it', () => {
  const broken = [...pages, 'CHANGELOG.md'].flatMap((page) =>
    [...bodyOf(page).matchAll(/\]\(([^)\s]+)\)/g)]
      .map(([, target = '']) => target)
      .filter((target) => !/^[a-z]+:/.test(target))
      .filter((target) => {
        const [file = '', anchor] = target.split('#');
        const path = file === '' ? page : join(dirname(page), file);
        return !existsSync(path) || (anchor !== undefined && !anchorsOf(path).includes(anchor));
      })
      .map((target) => `${page}: ${target}`),
  );
  assert.deepEqual(broken, []);
});
