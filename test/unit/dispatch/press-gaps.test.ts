import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parsePress } from '../../../src/options/press.js';
import { gapAfter } from '../../../src/dispatch/press-gaps.js';

test('gaps between presses, the last one repeated', () => {
  assert.deepEqual(
    [1, 2, 3].map((presses) => gapAfter(parsePress('0.5,10'), presses)),
    [500, 10_000, 10_000],
  );
  assert.equal(gapAfter(parsePress('once'), 1), Infinity);
});
