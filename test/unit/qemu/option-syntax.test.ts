import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readOpts } from '../../../src/qemu/option-syntax.js';

test("QEMU's option style: a first word without a key, keys alone, and doubled commas", () => {
  for (const [text, opts] of [
    ['', [[null, '']]],
    ['web', [[null, 'web']]],
    [
      'web,debug-threads=on',
      [
        [null, 'web'],
        ['debug-threads', 'on'],
      ],
    ],
    ['guest=a,,b', [['guest', 'a,b']]],
    [
      'unix:/s,server,wait=off',
      [
        [null, 'unix:/s'],
        ['server', undefined],
        ['wait', 'off'],
      ],
    ],
    [
      'a=b=c,d=',
      [
        ['a', 'b=c'],
        ['d', ''],
      ],
    ],
    ['a,,b', [[null, 'a,b']]],
  ] as const) {
    assert.deepEqual(
      readOpts(text).map(({ key, value }) => [key, value]),
      opts,
      text,
    );
  }
});
