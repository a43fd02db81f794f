import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { findInterpreterFault } from '../../../src/hook/interpreter.js';
import { checkTrust } from '../../../src/hook/trust.js';

const searchPath = process.env['PATH'] ?? '';

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'qemu-trap-unit-'));
  t.after(() => rmSync(path, { recursive: true }));
  return path;
}

test('the interpreter that the first line names', (t) => {
  const path = join(folder(t), 'hook');
  for (const [line, says] of [
    ['#!/bin/sh', null],
    ['#! /bin/sh -e', null],
    ['#!/usr/bin/env sh', null],
    ['#!/usr/bin/env -S FOO=bar -u BAR sh -e', null],
    ['no first line of a script', null],
    ['#!/nowhere/sh', /its interpreter \/nowhere\/sh does not exist/],
    ['#!/usr/bin/env no-such-program', /its interpreter no-such-program does not exist/],
    ['#!/bin/sh\r', /ends in a carriage return/],
  ] as const) {
    writeFileSync(path, `${line}\nexit 0\n`);
    const fault = findInterpreterFault(path, searchPath);
    if (says === null) assert.equal(fault, null, line);
    else assert.match(fault?.what ?? '', says, line);
  }
});

test('who may have put a hook there, and whether it can be run', (t) => {
  const at = folder(t);
  const path = join(at, 'hook');
  const what = (file = path): string => {
    const trust = checkTrust(file, false);
    return trust.trusted ? 'trusted' : trust.what;
  };
  assert.match(what(), /there is no such file/);
  writeFileSync(path, '#!/bin/sh\n', { mode: 0o755 });
  assert.equal(what(), 'trusted');
  chmodSync(path, 0o777);
  assert.match(what(), /is writable by everyone/);
  chmodSync(path, 0o644);
  assert.match(what(), /it is not executable/);
  chmodSync(path, 0o755);
  chmodSync(at, 0o777);
  assert.match(what(), /its directory \S+ is writable by everyone/);
  chmodSync(at, 0o700);
  symlinkSync('nowhere', join(at, 'link'));
  assert.match(what(join(at, 'link')), /a link to a file that does not exist/);
});
