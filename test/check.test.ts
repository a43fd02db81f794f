import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { trappableSignals } from '../src/signals.js';
import { Lab, program } from './lab.js';

function check(...options: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, '--check', ...options], { encoding: 'utf8', env: { ...process.env, QEMU_TRAP_HOOKS: '' } });
  const objects = (): Record<string, unknown>[] => stdout.trim().split('\n').map((line) => JSON.parse(line) as Record<string, unknown>);
  return { status, stdout, stderr, objects };
}

test('--check prints what every signal would do, and finds no fault in the bundled hooks', () => {
  const report = check();
  assert.equal(report.status, 0, report.stdout);
  for (const signal of trappableSignals) assert.match(report.stdout, new RegExp(`^${signal} `, 'm'));
  assert.match(report.stdout, /^SIGTERM +\/\S+\/hooks\/powerdown +system_powerdown +60 +quit +built-in$/m);
  assert.match(report.stdout, /^SIGQUIT +- +- +0 +quit +built-in$/m);
  assert.match(report.stdout, /^SIGUSR1 +- +- +- +none +ignored$/m);
  assert.match(report.stdout, /no faults\n$/);
  assert.equal(report.stderr, '');
});

test('--check shows rules from options and from the hooks directory', (t) => {
  const lab = new Lab(t);
  lab.hook('usr1', '#!/bin/sh\n');
  const report = check('--log', 'json', '--hooks', lab.hooks, '--timeout', '90', '--signal', 'HUP,script=reset', '--signal', 'TERM,timeout=5,default=kill', '--signal', 'INT,monitorcommand=quit', '--signal', 'PWR,monitorcommand=none');
  assert.equal(report.status, 0, report.stdout);
  const rule = (signal: string) => report.objects().find((each) => each['signal'] === signal);
  const bundled = String(rule('SIGTERM')?.['script']).replace(/powerdown$/, '');
  assert.deepEqual(rule('SIGHUP'), { event: 'rule', signal: 'SIGHUP', script: `${bundled}reset`, monitorcommand: null, timeout: 90, default: 'none', source: 'option', ignored: false });
  assert.deepEqual(rule('SIGTERM'), { event: 'rule', signal: 'SIGTERM', script: `${bundled}powerdown`, monitorcommand: 'system_powerdown', timeout: 5, default: 'kill', source: 'option', ignored: false });
  assert.deepEqual(rule('SIGINT'), { event: 'rule', signal: 'SIGINT', script: null, monitorcommand: 'quit', timeout: 90, default: 'quit', source: 'option', ignored: false });
  assert.deepEqual(rule('SIGPWR'), { event: 'rule', signal: 'SIGPWR', script: `${bundled}powerdown`, monitorcommand: null, timeout: 90, default: 'quit', source: 'option', ignored: false });
  assert.deepEqual(rule('SIGUSR1'), { event: 'rule', signal: 'SIGUSR1', script: `${lab.hooks}/usr1`, monitorcommand: null, timeout: 90, default: 'none', source: 'hooks directory', ignored: false });
});

test('--check reports every fault with its mend, and 125', (t) => {
  const lab = new Lab(t);
  lab.hook('SIGTERM', '#!/bin/sh\n', 0o644);
  lab.hook('sigterm', '#!/bin/sh\n');
  lab.hook('USR1', '');
  const odd = lab.hook("it's", '#!/bin/sh\n', 0o600);
  const options = ['--hooks', lab.hooks, '--signal', `HUP,script=${odd}`, '--signal', 'USR2,script=nowhere'];
  const report = check(...options, '--log', 'json');
  assert.equal(report.status, 125);
  const faults = report.objects().filter(({ event }) => event === 'hook-fault');
  assert.deepEqual(
    faults.map(({ hook, mend }) => [hook, mend]).sort(),
    [
      [`${lab.hooks}/SIGTERM`, `chmod 755 ${lab.hooks}/SIGTERM`],
      [`${lab.hooks}/USR1`, `rm ${lab.hooks}/USR1`],
      [odd, `chmod 755 '${lab.hooks}/it'\\''s'`],
      [`${lab.hooks}/nowhere`, `cp HOOK ${lab.hooks}/nowhere`],
      [`${lab.hooks}/sigterm`, `rm ${lab.hooks}/sigterm`],
    ].sort(),
  );
  assert.equal(check(...options).status, 125);
  assert.match(check(...options).stdout, /SIGTERM is for SIGTERM too, and is the one that counts/);
});

test('the mend mends', (t) => {
  const lab = new Lab(t);
  const path = lab.hook('SIGTERM', '#!/bin/sh\n', 0o644);
  chmodSync(path, 0o666);
  for (let fault = 0; fault < 5; fault++) {
    const report = check('--hooks', lab.hooks, '--log', 'json');
    if (report.status === 0) return;
    const mend = String(report.objects().find(({ event }) => event === 'hook-fault')?.['mend']);
    assert.equal(spawnSync('sh', ['-c', mend]).status, 0, mend);
  }
  assert.fail('it did not');
});

test('a SIGTERM rule that never stops the VM is a fault', (t) => {
  const lab = new Lab(t);
  writeFileSync(lab.file('x'), '');
  const report = check('--signal', 'TERM,script=reset');
  assert.equal(report.status, 125);
  assert.match(report.stdout, /SIGTERM with default=none never stops this VM/);
});

test('--check shows the steps of a directory, and what is passed over in it', (t) => {
  const lab = new Lab(t);
  mkdirSync(`${lab.hooks}/SIGTERM.d`, { mode: 0o755 });
  for (const name of ['20-drain', '10-notify', '30-old.sh']) lab.hook(`SIGTERM.d/${name}`, '#!/bin/sh\n');
  lab.hook('SIGTERM.d/40-not', '#!/bin/sh\n', 0o644);
  lab.hook('term', '#!/bin/sh\n');
  const report = check('--hooks', lab.hooks);
  assert.equal(report.status, 125);
  assert.match(report.stdout, /^SIGTERM +\S+\/term +system_powerdown/m);
  assert.match(report.stdout, /rm -r \S+SIGTERM\.d/);
  rmSync(`${lab.hooks}/term`);
  const { stdout } = check('--hooks', lab.hooks);
  assert.match(stdout, /^SIGTERM +\S+\/SIGTERM\.d\/\{10-notify,20-drain\} +system_powerdown/m);
  assert.match(stdout, /30-old\.sh: it is passed over for its name.*mv \S+30-old\.sh \S+30-old$/m);
  assert.match(stdout, /40-not: it is not executable, and is passed over; mend it: chmod 755/);
  assert.deepEqual(check('--hooks', lab.hooks, '--log', 'json').objects().find(({ signal }) => signal === 'SIGTERM')?.['steps'], ['10-notify', '20-drain']);
});
