import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { bundledHooks } from '../../../src/hook/find.js';
import { findInterpreterFault } from '../../../src/hook/interpreter.js';
import { checkTrust, findDirectoryFault, notExecutable } from '../../../src/hook/trust.js';

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
    ['#!/usr', /its interpreter \/usr is a directory/],
    ['#!/usr/bin/env', /its first line gives \/usr\/bin\/env no interpreter to run/],
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
  const oursIsGone = (name: string): string => {
    const trust = checkTrust(join(at, name), true);
    return trust.trusted ? '' : `${trust.what}: ${trust.fix}`;
  };
  assert.equal(oursIsGone('reset'), 'it came with qemu-trap, and is gone: reinstall qemu-trap');
  assert.equal(oursIsGone('powerdwon'), 'no hook is called powerdwon; powerdown is probably meant: script=powerdown');
  assert.match(oursIsGone('notify'), /^no hook is called notify: write a path, or one of powerdown, reset, /);
  const device = checkTrust('/dev/null', false);
  assert.ok(!device.trusted && device.fix === 'ls -lL /dev/null', 'a device is not to be moved');
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

test('an empty hook would do nothing, one byte might', (t) => {
  const path = join(folder(t), 'hook');
  for (const [text, says] of [
    ['', /it is empty/],
    ['x', null],
  ] as const) {
    writeFileSync(path, text, { mode: 0o755 });
    const trust = checkTrust(path, false);
    if (says === null) assert.ok(trust.trusted);
    else assert.ok(!trust.trusted && says.test(trust.what));
  }
});

test('what looks at a hook leaves no descriptor open', (t) => {
  const path = join(folder(t), 'hook');
  writeFileSync(path, '#!/bin/sh\n', { mode: 0o755 });
  const open = (): number => readdirSync('/proc/self/fd').length;
  const before = open();
  for (let i = 0; i < 10; i++) checkTrust(path, false);
  assert.equal(open(), before);
});

test('why a file cannot be executed: its mode for all, its mode for this user, or its file system', () => {
  const what = (uid: number, mode: number, euid: number): string => notExecutable('/hook', { uid, mode }, euid).what;
  assert.match(what(1000, 0o644, 1000), /^it is not executable$/);
  assert.match(what(1000, 0o644, 0), /^it is not executable$/);
  assert.match(what(1000, 0o744, 1000), /noexec/);
  assert.match(what(1000, 0o744, 0), /noexec/);
  assert.match(what(1000, 0o744, 1001), /by the user qemu-trap runs as/);
  assert.match(what(1000, 0o654, 1000), /by the user qemu-trap runs as/);
  assert.match(what(1000, 0o654, 1001), /noexec/);
  assert.match(what(0, 0o611, 0), /noexec/);
});

test('whether the steps in a directory may run: it, what it lies in, and what a link to it leads to', (t) => {
  const at = folder(t);
  const steps = join(at, 'SIGTERM.d');
  mkdirSync(steps);
  assert.equal(findDirectoryFault(steps), null);
  chmodSync(steps, 0o777);
  assert.match(findDirectoryFault(steps)?.what ?? '', /the directory \S+SIGTERM\.d is writable by everyone/);
  symlinkSync(steps, join(at, 'link'));
  assert.match(findDirectoryFault(join(at, 'link'))?.what ?? '', /is writable by everyone/);
  chmodSync(steps, 0o755);
  assert.equal(findDirectoryFault(join(at, 'link')), null);
  chmodSync(at, 0o777);
  assert.match(findDirectoryFault(steps)?.what ?? '', /the directory \S+ is writable by everyone/);
  chmodSync(at, 0o700);
  assert.match(findDirectoryFault(join(at, 'nowhere'))?.what ?? '', /it cannot be checked \(ENOENT\)/);
});

test('the names of the bundled hooks are those of the files', () => {
  const files = readdirSync('hooks').filter((name) => name !== 'lib');
  assert.deepEqual([...bundledHooks].sort(), files.sort());
});
