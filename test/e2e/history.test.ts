import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { recall } from '../../src/status/history.js';
import { Lab, program, read, until } from '../support/lab.js';
import type { RunRecord, RunStart } from '../../src/status/run-record.js';

/*
 * The records of a VM's runs: one line when QEMU is started, one when it has ended; and what is known if qemu-trap was
 * killed in between.
 */

const named = ['--name', 'vm'];
const history = (lab: Lab): string => lab.file('state/vm.history');
const lines = (lab: Lab): (RunStart & RunRecord)[] =>
  read(history(lab))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as RunStart & RunRecord);

function status(lab: Lab): { last: RunRecord | null; running: boolean; stops: number; cut_off: number } {
  const { stdout, stderr } = spawnSync(
    process.execPath,
    [program, '--status', '--log', 'json', '--state-dir', lab.file('state'), '--run-dir', lab.runDir, 'vm'],
    { encoding: 'utf8' },
  );
  assert.notEqual(stdout, '', stderr);
  return JSON.parse(stdout) as ReturnType<typeof status>;
}

test('a run has a line from its start on, and a second one with the same run at its end', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest({ options: named });
  const [start, ...none] = lines(lab);
  assert.equal(none.length, 0);
  assert.deepEqual([start?.v, start?.vm, start?.end], [1, 'vm', undefined]);
  assert.equal(Number(start?.trap.split(' ')[0]), trap.pid);
  assert.deepEqual(recall(history(lab)), [], 'a run that goes on has not ended');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  const [first, second, ...more] = lines(lab);
  assert.equal(more.length, 0);
  assert.equal(second?.run, first?.run);
  assert.deepEqual([second?.v, second?.end, second?.cut_off], [1, 'guest-shutdown', false]);
});

test('a qemu-trap that was killed leaves a run whose end is unknown: neither cut off nor a stop, and not the stop before', async (t) => {
  const lab = new Lab(t);
  const first = await lab.startGuest({ options: named });
  first.kill('SIGTERM');
  assert.equal(await first.status(), 0);
  const trap = await lab.startGuest({ options: named });
  await trap.die();
  await until('QEMU has gone with it', () => lab.left().length === 0);
  const { last, stops, cut_off } = await until('nobody serves it', () =>
    status(lab).last?.end === 'unknown' ? status(lab) : null,
  );
  assert.deepEqual([last?.end, last?.cut_off, last?.status], ['unknown', null, null]);
  assert.deepEqual([stops, cut_off], [1, 0]);
  const { stdout } = spawnSync(
    process.execPath,
    [program, '--status', '--state-dir', lab.file('state'), '--run-dir', lab.runDir, 'vm'],
    {
      encoding: 'utf8',
    },
  );
  assert.match(stdout, /^vm: last run: qemu-trap was killed, so it is unknown when and how this run ended$/m);
  // What it has is the time of the start, and it says so.
  assert.match(stdout, / started \d{4}-\d\d-\d\d \d\d:\d\d unknown$/m);
  assert.equal(last?.started, lines(lab).at(-1)?.time);
});

test('the start after a run whose end is unknown tells of it in the log, once', async (t) => {
  const lab = new Lab(t);
  const stop = async (): Promise<object[]> => {
    const trap = await lab.startGuest({ options: named });
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
    return trap.events('end-unknown');
  };
  assert.deepEqual(await stop(), []);
  const trap = await lab.startGuest({ options: named });
  await trap.die();
  await until('QEMU has gone with it', () => lab.left().length === 0);
  const [told, ...more] = (await stop()) as { level: string; started: string }[];
  assert.deepEqual([told?.level, more.length], ['warning', 0]);
  assert.equal(told?.started, lines(lab).at(-3)?.time);
  assert.deepEqual(await stop(), []);
});

test('a take-over goes on with the record it finds', async (t) => {
  const lab = new Lab(t);
  const options = [...named, '--on-death', 'keep'];
  const first = await lab.startGuest({ options });
  await first.die();
  await until('nobody serves it', () => recall(history(lab)).at(-1)?.end === 'unknown');
  const next = lab.start({ options });
  await next.event('takeover');
  await next.ready();
  assert.deepEqual(recall(history(lab)), []);
  next.kill('SIGTERM');
  assert.equal(await next.status(), 0);
  assert.deepEqual(
    recall(history(lab)).map(({ end }) => end),
    ['guest-shutdown'],
  );
  const [start, end, ...more] = lines(lab);
  assert.deepEqual([start?.run, more.length], [end?.run, 0], 'a record is two lines');
});

test('SIGKILL while end runs: the record is whole already', async (t) => {
  const lab = new Lab(t);
  lab.hook('end', '#!/bin/sh\necho up\nsleep 600\n');
  const trap = await lab.startGuest({ options: [...named, '--hooks', lab.hooks] });
  trap.kill('SIGTERM');
  await trap.event('hook-output');
  await trap.die();
  assert.deepEqual(
    recall(history(lab)).map(({ end, status: code }) => [end, code]),
    [['guest-shutdown', 0]],
  );
});

test('calls that start no guest leave no record; a start that fails does', async (t) => {
  const lab = new Lab(t);
  for (const words of [['-version'], ['-device', 'help'], ['-machine', 'help']]) {
    assert.equal(await lab.start({ command: ['qemu-system-x86_64', ...words], options: named }).status(), 0);
    assert.ok(!existsSync(history(lab)), words.join(' '));
  }
  assert.equal(await lab.start({ command: ['qemu-system-x86_64', '-nonsense'], options: named }).status(), 1);
  assert.deepEqual(
    recall(history(lab)).map(({ end }) => end),
    ['start-failed'],
  );
  assert.equal(await lab.start({ command: ['qemu-system-x86_64', '-version'], options: named }).status(), 0);
  assert.deepEqual(
    recall(history(lab)).map(({ end }) => end),
    ['start-failed'],
  );
});

test('a VM named by default keeps three records, one with a name keeps them all', async (t) => {
  const lab = new Lab(t);
  for (let i = 0; i < 5; i++) {
    assert.equal(await lab.start({ qemu: ['-nonsense'] }).status(), 1);
    assert.equal(await lab.start({ qemu: ['-nonsense'], options: named }).status(), 1);
  }
  const unnamed = readdirSync(lab.file('state')).find((name) => name.startsWith('qemu-')) as string;
  assert.equal(recall(lab.file(`state/${unnamed}`)).length, 3);
  assert.equal(recall(history(lab)).length, 5);
});

test('records of version 0.1.0 are read as they are', async (t) => {
  const lab = new Lab(t);
  mkdirSync(lab.file('state'));
  const old = {
    time: '2026-01-01T00:00:00.000Z',
    vm: 'vm',
    end: 'quit',
    verdict: 'forced',
    cut_off: true,
    status: 124,
    signal: 'SIGTERM',
    cause: 'deadline',
    ms: 60_000,
    timeout_ms: 60_000,
    message: 'x',
  };
  writeFileSync(history(lab), `${JSON.stringify(old)}\n`);
  assert.deepEqual(status(lab).last, old);
  const trap = await lab.startGuest({ options: named });
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.deepEqual(
    recall(history(lab)).map(({ end }) => end),
    ['quit', 'guest-shutdown'],
  );
});
