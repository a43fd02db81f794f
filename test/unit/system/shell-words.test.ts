import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import fc from 'fast-check';
import { shellWords } from '../../../src/system/shell-words.js';

/*
 * The words of a line, with the quotes of sh.
 */

test('words, quotes, and what is not closed', () => {
  assert.deepEqual(shellWords(''), []);
  assert.deepEqual(shellWords('  --timeout \'1h 30min\'\t--hooks "/srv/vm hooks"  '), [
    ...['--timeout', '1h 30min', '--hooks', '/srv/vm hooks'],
  ]);
  assert.deepEqual(shellWords(`a'b'"c"d\\ e '' "" "\\"\\$\\a" '\\'`), ['abcd e', '', '', '"$\\a', '\\']);
  for (const open of ["'a", '"a', 'a\\']) assert.equal(shellWords(open), null, open);
});

test('they are those of sh itself', () => {
  const letter = fc.constantFrom(...`ab-=/,'" \\`);
  fc.assert(
    fc.property(fc.array(letter, { maxLength: 12 }), (letters) => {
      const line = letters.join('');
      const words = shellWords(line);
      if (words === null) return;
      const said = execFileSync('sh', ['-c', `for word in ${line}; do printf '%s\\0' "$word"; done`], {
        encoding: 'utf8',
      });
      assert.deepEqual(words, said.split('\0').slice(0, -1), line);
    }),
    { numRuns: 60 },
  );
});
