import assert from 'node:assert/strict';
import { test } from 'node:test';
import { changesUser, daemonizes, vmName, waitsForConnection } from '../../../src/qemu/argv.js';

const qemu = (...options: string[]): string[] => ['qemu-system-x86_64', ...options];

test("the VM's name is QEMU's own, else the same at every start", () => {
  for (const [words, name] of [
    [['-name', 'web'], 'web'],
    [['--name', 'web'], 'web'],
    [['-name', 'guest=web,debug-threads=on'], 'web'],
    [['-name', 'debug-threads=on,guest=web'], 'web'],
    [['-name', 'web,process=x'], 'web'],
    [['-name', 'a,,b'], 'a,b'],
    [['-name', 'old', '-name', 'new'], 'new'],
    [['-name', 'old', '-name', 'process=x'], 'old'],
  ] as const) {
    assert.equal(vmName(qemu(...words)), name);
  }
  assert.match(vmName(qemu('-m', '16')), /^qemu-[0-9a-f]{8}$/);
  assert.equal(vmName(qemu('-m', '16')), vmName(qemu('-m', '16')));
  assert.notEqual(vmName(qemu('-m', '16')), vmName(qemu('-m', '17')));
  assert.match(vmName(qemu('-name')), /^qemu-/);
});

test('options of QEMU that qemu-trap must know of', () => {
  assert.ok(
    daemonizes(qemu('-daemonize')) && daemonizes(qemu('--daemonize')) && !daemonizes(qemu('-name', 'daemonize')),
  );
  assert.ok(changesUser(qemu('-runas', 'nobody')) && changesUser(qemu('-run-with', 'user=nobody')));
  assert.ok(!changesUser(qemu('-run-with', 'chroot=/x')));
});

test('a QEMU that waits for a client before it starts', () => {
  for (const [word, value, waits] of [
    ['-serial', 'telnet:127.0.0.1:4555,server', true],
    ['-serial', 'telnet:127.0.0.1:4555,server,nowait', false],
    ['-chardev', 'socket,id=a,path=/x,server=on', true],
    ['-chardev', 'socket,id=a,path=/x,server=on,wait=on', true],
    ['-chardev', 'socket,id=a,path=/x,server=on,wait=off', false],
    ['-chardev', 'socket,id=a,path=/x,server=off', false],
    ['-qmp', 'unix:/x,server,wait=off', false],
    ['-monitor', 'unix:/x,server', true],
    ['-name', 'a,server', false],
  ] as const)
    assert.equal(waitsForConnection(qemu(word, value)), waits ? `${word} ${value}` : null, value);
});
