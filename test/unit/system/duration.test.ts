import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseSpan, parseTime } from '../../../src/system/duration.js';
import { UsageError } from '../../../src/system/usage-error.js';

test('a span of time as systemd.time(7) writes it', () => {
  for (const [text, ms] of [
    ['infinity', Infinity],
    ['0', 0],
    ['60', 60_000],
    ['0.5', 500],
    ['.5', 500],
    ['1.', 1_000],
    ['90s', 90_000],
    ['90 s', 90_000],
    ['90sec', 90_000],
    ['1min 30s', 90_000],
    ['1min30s', 90_000],
    [' 1 min  30 s ', 90_000],
    ['1min 30', 90_000],
    ['1.5min', 90_000],
    ['500ms', 500],
    ['250us', 0.25],
    ['250μs', 0.25],
    ['2 h', 7_200_000],
    ['2hours', 7_200_000],
    ['1h 30min', 5_400_000],
    ['1d 2h', 93_600_000],
    ['1week 1day', 691_200_000],
    ['1M', 2_629_800_000],
    ['1m', 60_000],
    ['1y', 31_557_600_000],
    ['1year 12months', 63_115_200_000],
  ] as const)
    assert.equal(parseSpan(text), ms, text);
});

test('what is none', () => {
  for (const text of [
    ...[
      '',
      ' ',
      'x',
      's',
      '-1',
      '+1',
      '1e3',
      '1.5.5',
      '1,5',
      '1:30',
      '0x10',
      '1 min 30 x',
      '1S',
      '1MIN',
      '1minute30x',
      '5.s',
    ],
    ...['1constructor', 'Infinity', 'infinity s', '1 infinity', 'never', 'NaN', '１'],
  ])
    assert.equal(parseSpan(text), null, text);
});

test('a time that is wrong gets one line that says what is right', () => {
  const refused = (read: () => unknown, words: RegExp): void => {
    assert.throws(read, (error) => error instanceof UsageError && words.test(error.message) && error.status === 125);
  };
  refused(() => parseTime('soon', '--timeout', null), /^--timeout: 'soon' is not a time: write .*5min/);
  refused(() => parseTime('100001y', '--timeout', null), /too long a time: write less than 100,000 years/);
  refused(() => parseTime('99999999999y', '--timeout', null), /^--timeout: .* too long a time: write/);
  refused(() => parseTime('infinity', '--kill-after', 'write 10'), /^--kill-after: 'infinity' is not .*: write 10$/);
  assert.equal(parseTime('infinity', '--timeout', null), Infinity);
  assert.equal(parseTime('1min', '--kill-after', ''), 60_000);
});
