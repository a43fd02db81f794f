import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  changesUser,
  daemonizes,
  isNamed,
  guestSource,
  isSameCommand,
  pidFile,
  startsNoGuest,
  startsPaused,
  unfinishedOption,
  usesTerminal,
  vmName,
  waitsForConnection,
  wasToResume,
} from '../../../src/qemu/argv.js';

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

test('a guest or a monitor on the terminal that qemu-trap has too', () => {
  for (const [words, does] of [
    [['-nographic'], true],
    [['-curses'], true],
    [['-serial', 'stdio'], true],
    [['-serial', 'mon:stdio'], true],
    [['--monitor', 'stdio'], true],
    [['-display', 'curses,charset=CP850'], true],
    [['-chardev', 'stdio,id=c'], true],
    [['-serial', 'file:stdio'], false],
    [['-serial', 'none', '-name', 'stdio'], false],
    [['-name', 'stdio'], false],
    [['-serial'], false],
  ] as const)
    assert.equal(usesTerminal(qemu(...words)), does, words.join(' '));
});

test('where the guest comes from, and whether it is to wait', () => {
  assert.equal(guestSource(qemu('-incoming', 'defer')), '-incoming');
  assert.equal(guestSource(qemu('-loadvm', 'x', '-incoming', 'defer')), '-incoming');
  assert.equal(guestSource(qemu('--loadvm', 'x')), '-loadvm');
  assert.equal(guestSource(qemu()), null);
  assert.ok(startsPaused(qemu('-S')) && !startsPaused(qemu('-s')));
  assert.ok(isNamed(qemu('-name', 'web')) && !isNamed(qemu('-name', '')) && !isNamed(qemu()));
});

test('whether a process runs a command line of QEMU, with the words of qemu-trap after it, and a wrapper in front of it', () => {
  const words = ['qemu', '-m', '16'];
  for (const [running, is] of [
    [['qemu', '-m', '16', '-readconfig', '/dev/fd/9'], true],
    // Of the command line, a wrapper has executed the end.
    [['-m', '16', '-readconfig', '/dev/fd/9'], true],
    [['16', '-readconfig', '/dev/fd/9'], true],
    [['qemu', '-m', '17', '-readconfig', '/dev/fd/9'], false],
    [['other', 'qemu', '-m', '16', '-readconfig', '/dev/fd/9'], false],
    [['qemu', '-m', '16'], false],
    [['16'], false],
    [['-readconfig', '/dev/fd/9'], false],
    [[], false],
    // A configuration of the user's own is one of the words.
    [['qemu', '-m', '16', '-readconfig', 'own', '-readconfig', '/dev/fd/9'], false],
  ] as const)
    assert.equal(isSameCommand(words, running), is, running.join(' '));
  assert.ok(isSameCommand(['qemu', '-readconfig', 'own'], ['qemu', '-readconfig', 'own', '-readconfig', '/dev/fd/9']));
  assert.ok(wasToResume(['qemu', '-readconfig', '/dev/fd/9', '-incoming', 'fd:8']));
  assert.ok(!wasToResume(['qemu', '-incoming', 'defer', '-readconfig', '/dev/fd/9']));
});

test('a last option whose value is missing', () => {
  for (const [words, option] of [
    [['-pidfile'], '-pidfile'],
    [['-m', '16', '--pidfile'], '--pidfile'],
    [['-pidfile', 'x'], null],
    [['-nographic'], null],
    [['-append', '-pidfile'], null],
    [['-nographic', '-pidfile'], '-pidfile'],
    [[], null],
  ] as const)
    assert.equal(unfinishedOption(qemu(...words)), option, words.join(' '));
  // A program of that name is no option.
  assert.equal(unfinishedOption(['-pidfile']), null);
});

test('calls of QEMU that start no guest', () => {
  for (const line of [
    '-version',
    '--version',
    '-h',
    '-help',
    '-M none',
    '-machine type=none,accel=kvm',
    '--machine none',
  ])
    assert.ok(startsNoGuest(line.split(' ')), line);
  for (const line of ['-cpu help', '-device ?', '-device e1000,help', '-audiodev help', '-m 16 -dump-vmstate file'])
    assert.ok(startsNoGuest(line.split(' ')), line);
  for (const line of [
    '',
    '-M pc',
    '-name none',
    '-name machine -S',
    'help',
    '-append help,me',
    '-M pc,accel=tcg',
    '-k de help',
  ])
    assert.ok(!startsNoGuest(line.split(' ')), line);
});

test('the file of its pid: the last one counts', () => {
  assert.equal(pidFile(['-m', '16']), null);
  assert.equal(pidFile(['-pidfile', 'a', '-S', '--pidfile', 'b']), 'b');
  assert.equal(pidFile(['-pidfile']), null);
});
