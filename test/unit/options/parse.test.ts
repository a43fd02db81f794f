import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Command, Config } from '../../../src/options/command.js';
import { parseArgs } from '../../../src/options/parse.js';
import { UsageError } from '../../../src/system/usage-error.js';

const qemu = ['qemu-system-x86_64', '-m', '16'];

function read(words: readonly string[]): Command {
  return parseArgs(words, {});
}

/** What `words` make of a VM. */
function configOf(words: readonly string[], env: NodeJS.ProcessEnv = {}): Config {
  const command = parseArgs(words, env);
  assert.equal(command.mode, 'run');
  return (command as Extract<Command, { mode: 'run' }>).config;
}

test("QEMU's command line begins at --, or at the first word that is no option and no option's value", () => {
  for (const words of [
    ['--', ...qemu],
    qemu,
    ['--timeout', '5', ...qemu],
    ['--timeout=5', '--', ...qemu],
    ['--no-shield', ...qemu],
    ['-signal', 'TERM,script=x', ...qemu],
  ])
    assert.deepEqual(configOf(words).qemu, qemu, words.join(' '));
  assert.deepEqual(configOf(['--', '--odd']).qemu, ['--odd']);
  assert.deepEqual(read(['--status', 'web', '--log', 'json', 'db']), {
    mode: 'status',
    names: ['web', 'db'],
    runDir: null,
    stateDir: null,
    format: 'json',
    isAlert: false,
  });
});

test('what is asked for decides what is done', () => {
  for (const [words, mode] of [
    [qemu, 'run'],
    [['--attach', '/s'], 'attach'],
    [['--check'], 'check'],
    [['--check', '--', ...qemu], 'check'],
    [['--status'], 'status'],
    [['--new-hook', 'TERM'], 'new-hook'],
    [['--try', 'TERM'], 'try'],
    [['-h'], 'help'],
    [['-V'], 'version'],
  ] as const)
    assert.equal(read(words).mode, mode, words.join(' '));
});

test('values: the last one counts, a leading dash is no option, and the environment gives what is not written', () => {
  assert.equal(configOf(['--timeout', '5', '--timeout', '0.5', ...qemu]).timeoutMs, 500);
  assert.equal(configOf(['--timeout', '1h 30min', ...qemu]).timeoutMs, 5_400_000);
  assert.equal(configOf(['--timeout', 'infinity', ...qemu]).timeoutMs, Infinity);
  assert.equal(configOf(['--kill-after=500ms', ...qemu]).killAfterMs, 500);
  assert.equal(configOf(qemu).busyTimeoutMs, null);
  assert.equal(configOf(['--busy-timeout', '60', ...qemu]).busyTimeoutMs, 60_000);
  const besideIt = ['--busy-timeout', '2min', '--signal', 'HUP,script=reset,timeout=infinity,default=none', ...qemu];
  assert.equal(configOf(besideIt).busyTimeoutMs, 120_000);
  assert.deepEqual(configOf(['--press', '500ms,1min 30s', ...qemu]).pressGaps, [500, 90_000]);
  assert.equal(configOf(['--name', '-odd-', ...qemu]).name, '-odd-');
  assert.equal(configOf(qemu, { QEMU_TRAP_HOOKS: '/h' }).hooksDir, '/h');
  assert.equal(configOf(['--hooks', '/own', ...qemu], { QEMU_TRAP_HOOKS: '/h' }).hooksDir, '/own');
  assert.equal(configOf(qemu, { QEMU_TRAP_HOOKS: '' }).hooksDir, null);
  assert.equal(configOf(['--no-shield', ...qemu]).shield, false);
  assert.equal(configOf(qemu).shield, true);
});

test("-signal among QEMU's options is a rule of ours, and behind an option with a value it is that value", () => {
  const press = ['-signal', 'SIGTERM,monitorcommand=system_powerdown'];
  const reset = ['-signal', 'hup,monitorcommand=system_reset'];
  for (const [words, left, signals] of [
    [[...qemu, ...press, ...reset], qemu, ['SIGTERM', 'SIGHUP']],
    [['qemu-system-x86_64', ...press, '-m', '16'], qemu, ['SIGTERM']],
    [['--signal', 'USR1,script=reset', '--', ...qemu, ...press], qemu, ['SIGUSR1', 'SIGTERM']],
    [['--', './start-vm', ...press, 'web'], ['./start-vm', 'web'], ['SIGTERM']],
    [['--', 'nice', ...qemu, ...press], ['nice', ...qemu], ['SIGTERM']],
    [['--', 'timeout', '-signal', 'KILL', ...qemu], ['timeout', '-signal', 'KILL', ...qemu], []],
    [[...qemu, '-append', '-signal'], [...qemu, '-append', '-signal'], []],
    [[...qemu, '-append', '-signal', ...press], [...qemu, '-append', '-signal'], ['SIGTERM']],
    [['--check', '--', ...qemu, ...press], qemu, ['SIGTERM']],
    [[...qemu, '-append', '-singal'], [...qemu, '-append', '-singal'], []],
    [[...qemu, '-serial', 'stdio'], [...qemu, '-serial', 'stdio'], []],
  ] as const) {
    const command = read(words) as Extract<Command, { mode: 'run' | 'check' }>;
    assert.deepEqual(command.config.qemu, left, words.join(' '));
    assert.deepEqual([...command.config.specs.keys()], signals, words.join(' '));
  }
});

test('what cannot be meant is refused, and what was meant is named', () => {
  for (const [words, says] of [
    [['--kill-aftr', '5', ...qemu], /write --kill-after/],
    [['--tmieout', '5', ...qemu], /write --timeout/],
    [['--zzz', ...qemu], /--help lists the options/],
    [['version'], /write --version/],
    [['--', ...qemu, '--press=once'], /write it before qemu-system-x86_64/],
    [['--attach', '/s', '--', ...qemu], /QEMU is running already/],
    [[], /no QEMU to run/],
    [['--', ''], /the name of QEMU is empty/],
    [['--', '--timeout', '5', ...qemu], /--timeout: this option of qemu-trap comes after --/],
    [['--no-shield=false', ...qemu], /--no-shield takes no value/],
    [['--status=web'], /--status takes no value/],
    [[...qemu, '-signal'], /-signal: no rule follows: write one, such as -signal SIGTERM,script=powerdown/],
    [[...qemu, '-signal', 'SIGTREM,script=x'], /^-signal SIGTREM,script=x: unknown signal 'SIGTREM': write SIGTERM /],
    [['--timeout', '1h', '30min', '--', ...qemu], /^30min: .* write '1h 30min' in quotes, or 1h30min$/],
    [['--kill-after=2', 'min', ...qemu], /^min: .* write '2 min' in quotes, or 2min$/],
    [[...qemu, '-singal', 'TERM'], /^-singal: QEMU has no such option: write -signal SPEC/],
    [[...qemu, '-signal=TERM'], /^-signal=TERM: QEMU has no such option: write -signal SPEC/],
    [[...qemu, '-signal', '-m'], /unknown signal '-m': write one such as/],
    [['--signal', 'TERM', '--', ...qemu, '-signal', 'TERM'], /SIGTERM has a rule already/],
    [['--check', '--try', 'TERM'], /--check and --try: write only one of them/],
  ] as const)
    assert.throws(
      () => read(words),
      (error) => error instanceof UsageError && says.test(error.message),
      words.join(' '),
    );
});
