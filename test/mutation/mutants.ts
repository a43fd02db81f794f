/*
 * Small changes of a source, each of which some test should find.
 */

export interface Mutant {
  readonly line: number;
  readonly from: string;
  readonly to: string;
  readonly text: string;
}

/** Each token with what is put in its place. A token that may be a part of another stands after it. */
const replacements: readonly (readonly [RegExp, (token: string) => string | null])[] = [
  [/^(===|!==)/, (token) => (token === '===' ? '!==' : '===')],
  [/^(<=|>=)(?= )/, (token) => (token === '<=' ? '>' : '<')],
  [/^(&&|\|\|)(?= )/, (token) => (token === '&&' ? '||' : '&&')],
  [/^\?\?=?(?= )/, () => null],
  [/^=>/, () => null],
  [/^(<|>)(?= )/, (token) => (token === '<' ? '>=' : '<=')],
  [/^(\+|-|\*|\/)(?= )/, (token) => ({ '+': '-', '-': '+', '*': '/', '/': '*' })[token] ?? null],
  [/^!(?=[\w(])/, () => ''],
  [/^(true|false)\b/, (token) => (token === 'true' ? 'false' : 'true')],
  [/^Infinity\b/, () => '0'],
  [/^\d[\d_.]*\b/, (token) => String(Number(token.replaceAll('_', '')) + 1)],
];

/** Where comments, regular expressions and the insides of strings end, from their beginning on. */
const passedOver: readonly RegExp[] = [
  /^\/\*[\s\S]*?\*\//,
  /^\/\/[^\n]*/,
  /^'(?:[^'\\\n]|\\.)*'/,
  /^"(?:[^"\\\n]|\\.)*"/,
  /^`(?:[^`\\]|\\.)*`/,
  /^\/(?![ /*])(?:[^/\\\n[]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*/,
  /^(?:import|export type|interface|type)\b[\s\S]*?(?:;\n|\n}\n)/,
  /^[A-Za-z_$#][\w$]*/,
];

function lineAt(source: string, offset: number): number {
  return source.slice(0, offset).split('\n').length;
}

/** The mutants of one token each. */
function* ofTokens(source: string): Generator<Mutant> {
  for (let at = 0; at < source.length; ) {
    const rest = source.slice(at);
    const found = replacements
      .map(([token, replace]) => ({ token: token.exec(rest)?.[0], replace }))
      // What closes a list of type parameters is no comparison.
      .find(({ token }) => token !== undefined && (!/^[<>]$/.test(token) || source[at - 1] === ' '));
    if (found?.token !== undefined) {
      const { token } = found;
      const to = found.replace(token);
      if (to !== null)
        yield {
          line: lineAt(source, at),
          from: token,
          to,
          text: source.slice(0, at) + to + source.slice(at + token.length),
        };
      at += token.length;
      continue;
    }
    const passed = passedOver.map((each) => each.exec(rest)?.[0]).find((each) => each !== undefined);
    at += passed?.length ?? 1;
  }
}

/** The mutants that lack one statement each: a call or an assignment on a line of its own. */
function* ofStatements(source: string): Generator<Mutant> {
  const lines = source.split('\n');
  for (const [i, line] of lines.entries()) {
    if (!/^ +(?:[\w.#?]+\(.*\);|[\w.#]+ (?:\?\?)?[+-]?= .*;|[\w.]+(?:\+\+|--);)$/.test(line)) continue;
    const without = lines.map((each, j) => (j === i ? ';' : each)).join('\n');
    yield { line: i + 1, from: line.trim(), to: '', text: without };
  }
}

/** All mutants of `source`. */
export function mutantsOf(source: string): Mutant[] {
  return [...ofTokens(source), ...ofStatements(source)];
}
