import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { options } from '../../src/options/table.js';
import { baitRunDir, Lab, program } from '../support/lab.js';

/*
 * The manual pages and the completions, by the programs that people read and use them with.
 */

const pages = ['qemu-trap.1', 'qemu-trap-hooks.7'].map((name) => resolve('dist/man', name));
const env = {
  ...process.env,
  LC_ALL: 'C.UTF-8',
  MANWIDTH: '80',
  MANPAGER: 'cat',
  MAN_KEEP_FORMATTING: '',
  GROFF_NO_SGR: '1',
};

/** A page as man(1) shows it, on one line, without hyphenation. */
function shown(page: string): string {
  const { stdout, stderr, status } = spawnSync('man', ['--no-hyphenation', '-l', page], { encoding: 'utf8', env });
  assert.equal(status, 0, stderr);
  return stdout.replaceAll(/.\x08/g, '').replaceAll(/\s+/g, ' ');
}

test('man shows both pages without a warning, and mandoc finds nothing to say of them', () => {
  for (const page of pages) {
    const man = spawnSync('man', ['--warnings', '-l', page], { encoding: 'utf8', env });
    assert.equal(man.stderr, '', page);
    assert.equal(man.status, 0);
    const lint = spawnSync('mandoc', ['-T', 'lint', page], { encoding: 'utf8' });
    assert.equal(lint.stdout + lint.stderr, '', page);
    assert.equal(lint.status, 0);
  }
});

test('mandoc does find what is wrong with a page', (t) => {
  const lab = new Lab(t);
  const broken = spawnSync('mandoc', ['-T', 'lint'], { encoding: 'utf8', input: '.TH X\n.SH NAME\n.nonsense\n' });
  assert.notEqual(broken.stdout + broken.stderr, '');
  assert.equal(lab.left().length, 0);
});

test('every option, exit status, event and variable is in the manual', () => {
  const [command, hooks] = pages.map(shown) as [string, string];
  for (const { name } of options) assert.ok(command.includes(`--${name} `) || command.includes(`--${name},`), name);
  for (const words of [
    '128+N',
    '124',
    '137',
    'failed-to-start',
    'hook-output',
    'history-failed',
    '/run/qemu-trap/NAME',
    'system_powerdown',
    'NAME.state.refused',
  ])
    assert.ok(command.includes(words), words);
  for (const words of [
    'QEMU_TRAP_COOKIE',
    'QEMU_TRAP_END',
    'guest-reset',
    'EX_TEMPFAIL',
    'Reserve.',
    '--new-hook SIGTERM',
  ])
    assert.ok(hooks.includes(words), words);
});

/** What bash offers when Tab is pressed after `words`, the last of which is being typed. */
function bash(cwd: string, ...words: string[]): string[] {
  const script = `source '${resolve('dist/completions/qemu-trap.bash')}'; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _qemu_trap; printf '%s\\n' "\${COMPREPLY[@]}"`;
  // A bash whose stdin is a socket, as Node makes one, reads ~/.bashrc (bash(1), remote shell daemon).
  const { stdout, stderr } = spawnSync('bash', ['--norc', '-c', script, 'bash', 'qemu-trap', ...words], {
    encoding: 'utf8',
    cwd,
  });
  assert.equal(stderr, '');
  return stdout.split('\n').filter(Boolean);
}

test('bash completes options, their values, QEMU, and its files', (t) => {
  const lab = new Lab(t);
  assert.deepEqual(bash(lab.dir, '--').sort(), options.map(({ name }) => `--${name}`).sort());
  assert.deepEqual(bash(lab.dir, '--on-death', ''), ['kill', 'keep']);
  assert.deepEqual(bash(lab.dir, '--try', 'SIGU'), ['SIGUSR1', 'SIGUSR2', 'SIGURG']);
  assert.deepEqual(bash(lab.dir, '--new-hook', 'e'), ['end']);
  assert.deepEqual(bash(lab.dir, '--hooks', ''), ['hooks']);
  assert.ok(bash(lab.dir, '--timeout', '5', 'qemu-system-x86').includes('qemu-system-x86_64'));
  assert.ok(bash(lab.dir, '--', 'qemu-system-x86').includes('qemu-system-x86_64'));
  lab.guest();
  assert.deepEqual(bash(lab.dir, '--', 'qemu-system-x86_64', 'obed'), ['obedient.img']);
  assert.deepEqual(bash(lab.dir, 'qemu-system-x86_64', '--'), []);
  assert.deepEqual(bash(lab.dir, '--status', '--log', 'p'), ['prometheus']);
  assert.deepEqual(bash(lab.dir, '--stop', '--al'), ['--alert', '--all']);
});

test("another user's VM with a command for a name is not completed, and runs nothing", (t) => {
  const lab = new Lab(t);
  const bait = baitRunDir(t);
  writeFileSync(
    `${bait}/status.json`,
    JSON.stringify({ vm: `$(touch ${lab.file('run')})`, guest: 'running', serving: [], history: null }),
  );
  writeFileSync(lab.file('qemu-trap'), `#!/bin/sh\nexec '${process.execPath}' '${program}' "$@"\n`, { mode: 0o755 });
  const script = `PATH='${lab.dir}':$PATH; source '${resolve('dist/completions/qemu-trap.bash')}'; COMP_WORDS=(qemu-trap --status ''); COMP_CWORD=2; _qemu_trap; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout, stderr } = spawnSync('bash', ['--norc', '-c', script], { encoding: 'utf8' });
  assert.equal(stderr, '');
  assert.doesNotMatch(stdout, /touch/);
  assert.ok(!existsSync(lab.file('run')));
  // The negative control: it is there to be completed.
  writeFileSync(`${bait}/status.json`, JSON.stringify({ vm: 'baited', guest: 'running', serving: [], history: null }));
  assert.match(spawnSync('bash', ['--norc', '-c', script], { encoding: 'utf8' }).stdout, /^baited$/m);
});

test('fish completes options, their values, and QEMU', () => {
  const fish = (line: string): string[] => {
    const { stdout, stderr } = spawnSync(
      'fish',
      ['--no-config', '-c', `source '${resolve('dist/completions/qemu-trap.fish')}'; complete -C '${line}'`],
      { encoding: 'utf8' },
    );
    assert.equal(stderr, '');
    return stdout
      .split('\n')
      .filter(Boolean)
      .map((each) => each.split('\t')[0] as string);
  };
  assert.deepEqual(fish('qemu-trap --').sort(), options.map(({ name }) => `--${name}`).sort());
  assert.deepEqual(fish('qemu-trap --on-death ').sort(), ['keep', 'kill']);
  assert.ok(fish('qemu-trap -- qemu-system-x86').includes('qemu-system-x86_64'));
});

/** What zsh offers, from a zsh at a pseudo-terminal of its own (zshmodules(1), zpty). */
const zshCapture = `
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "PS1=; autoload -Uz compinit; fpath=(\${(q)1} \\$fpath); compinit -u -D; zstyle ':completion:*' list-prompt ''; LISTMAX=0; stty columns 200 rows 500; print READ\\"\\"Y"
while zpty -r shell line; do [[ $line == *READY* ]] && break; done
zpty -w -n shell "$2"$'\\t\\t'
text=
for ((i = 0; i < 60; i++)); do
  if zpty -r -t shell line; then text+=$line; i=0; else sleep 0.05; fi
  (( \${#text} > 20000 )) && break
done
print -r -- $text
zpty -d shell
`;

test('zsh completes options with what they mean, and their values', () => {
  const zsh = (line: string): string =>
    spawnSync('zsh', ['-f', '-c', zshCapture, 'zsh', resolve('dist/completions'), line], {
      encoding: 'utf8',
      timeout: 60_000,
    }).stdout.replaceAll(/\x1b\[[?\d;]*[a-zA-Z]/g, '');
  assert.equal(spawnSync('zsh', ['-n', 'dist/completions/_qemu-trap'], { encoding: 'utf8' }).stderr, '');
  const offered = zsh('qemu-trap --');
  for (const { name } of options) assert.ok(offered.includes(`--${name}`), `${name} in:\n${offered}`);
  assert.match(offered, /--timeout +-- time from the signal to the default action/);
  assert.match(zsh('qemu-trap --on-death k'), /keep +kill|kill +keep/);
});
