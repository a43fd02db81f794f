import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { marked, type Tokens } from 'marked';
import { Lab, program, until } from '../support/lab.js';
import { bodyOf, pages } from '../support/pages.js';
import { standIns } from '../support/stand-ins.js';

/*
 * Every command and every block of code in README and docs is run here, with the tiny guest for a disk, or is one of
 * those that cannot be, by name.
 */

interface Block {
  readonly page: string;
  readonly language: string;
  readonly text: string;
}

const blocks: readonly Block[] = pages.flatMap((page) =>
  marked
    .lexer(bodyOf(page))
    .filter((token): token is Tokens.Code => token.type === 'code')
    .map(({ lang, text }) => ({ page, language: lang ?? '', text })),
);

/** A line is a command; one that ends in a backslash goes on. */
const commands: readonly { readonly page: string; readonly line: string }[] = blocks
  .filter(({ language, text }) => (language === '' || language === 'sh') && !text.startsWith('#!'))
  .flatMap(({ page, text }) =>
    text
      .replaceAll(/\\\n\s*/g, '')
      .split('\n')
      .map((line) => ({ page, line: line.replace(/\s+#.*$/, '').trim() })),
  )
  .filter(({ line }) => line !== '');

/** Why a command is not run here. */
const notRun: readonly [RegExp, string][] = [
  [
    /^(git (clone|pull)|npm (ci|install|uninstall|run)|npm test|QEMU_TRAP_TEST_)/,
    'the project itself: .ci/run and test/managers/deb.test.ts',
  ],
  [/^(systemctl|journalctl|apt-get|(echo ')?QEMU_OPTIONS)/, 'systemd: test/managers/deb.test.ts'],
  [/^(tar -xJf|rm -r \/opt)/, 'a system without Node: test/packages/standalone.sh'],
  [/--drop-in/, 'the whole host: test/e2e/drop-in.test.ts'],
  [/^(kill -QUIT PID|editor |install -m)/, 'an example of what to type'],
  [/^(ln -s|mkdir -p ~\/bin|PATH=~|QEMU_TRAP_OPTIONS=)/, 'a drop-in: test/e2e/drop-in.test.ts'],
  [/guest-shutdown|^qga /, 'a guest with an agent: test/e2e/agent.test.ts'],
  [/^qemu-system-x86_64|--attach/, 'two processes: test/e2e/attach.test.ts'],
  [
    /^(cd |for |done|qemu-trap --stop \$group|# shellcheck|PATH=|shutdown |30 2 |\* \* \*|0 \* \*)/,
    'a script: shellcheck reads it',
  ],
  [/^qemu-trap --stop (--all|.*&&)/, 'the whole host: test/e2e/stop.test.ts'],
  [
    /^(SIGNAL\[|qemu-trap( --\S+)? ?\[|qemu-trap --(attach SOCKET|stop NAME|new-hook SIGNAL\||try SIGNAL\||status (\[|--alert \[|--log json\|)))/,
    'a synopsis',
  ],
  [/^(\$ |NAME {2}|(db|web)[: ]|\d+ (s left|shut down)|qemu-trap: web:|\/etc\/)/, 'what is printed'],
  [/\/var\/lib\/(prometheus|qemu-trap)/, 'a directory of the host'],
];

const isVm = (line: string): boolean =>
  /^qemu-trap .*-- (\/usr\/bin\/)?qemu-system-x86_64/.test(line) && !line.includes('--check');
const isTool = (line: string): boolean => /^qemu-trap .*--(check|status|stop|new-hook|try)\b/.test(line);
const isQmp = (line: string): boolean => line.startsWith('qmp ');
const excuseOf = (line: string): string | undefined => notRun.find(([pattern]) => pattern.test(line))?.[1];

/** A line's words, as sh takes them. */
function wordsOf(line: string): string[] {
  return execFileSync('sh', ['-c', `set -f; printf '%s\\0' ${line}`], { encoding: 'utf8' })
    .split('\0')
    .slice(0, -1);
}

function lay(lab: Lab): string {
  const image =
    lab
      .guest()
      .find((word) => word.startsWith('file='))
      ?.replace(/^file=([^,]*).*/, '$1') ?? '';
  for (const name of ['reload', 'signals/sigterm']) {
    mkdirSync(lab.file('signals'), { recursive: true });
    const path = name.includes('/') ? lab.file(name) : `${lab.hooks}/${name}`;
    writeFileSync(path, '#!/bin/sh\nexec qmp system_powerdown\n', { mode: 0o755 });
  }
  return image;
}

test('there is something to run, and each command is run or has its reason', () => {
  assert.ok(commands.filter(({ line }) => isVm(line)).length > 10);
  const unknown = commands.filter(
    ({ line }) => excuseOf(line) === undefined && !isVm(line) && !isTool(line) && !isQmp(line),
  );
  assert.deepEqual(unknown, []);
});

for (const line of new Set(
  commands.map((each) => each.line).filter((each) => isVm(each) && excuseOf(each) === undefined),
)) {
  test(`a VM: ${line}`, async (t) => {
    const lab = new Lab(t);
    const image = lay(lab);
    const words = wordsOf(line).slice(1);
    const at = words.indexOf('--');
    const qemu = words.slice(at + 1).map((word) => (/\.qcow2$/.test(word) ? image : word));
    const trap = lab.start({
      options: ['--hooks', lab.hooks, ...words.slice(0, at)],
      command: [...qemu, '-display', 'none', '-net', 'none', '-serial', `file:${lab.serial}`],
    });
    await trap.ready();
    await lab.guestSaid('up');
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0, trap.stderr);
    assert.equal(trap.verdict['end'], line.includes('SIGTERM,script=save') ? 'saved' : 'guest-shutdown');
  });
}

test('each tool is one that qemu-trap knows', (t) => {
  const lab = new Lab(t);
  lay(lab);
  const lines = new Set(
    commands.map((each) => each.line).filter((each) => isTool(each) && excuseOf(each) === undefined),
  );
  assert.ok(lines.size > 5);
  for (const line of lines) {
    const words = wordsOf(line).slice(1);
    const own = /--(status|stop)/.test(line)
      ? ['--run-dir', lab.runDir, '--state-dir', lab.file('state')]
      : ['--hooks', lab.hooks];
    const at = words.includes('--') ? words.indexOf('--') : words.length;
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [program, ...words.slice(0, at), ...own, ...words.slice(at)],
      { encoding: 'utf8', cwd: lab.dir },
    );
    // A VM of that name may not be known here.
    assert.ok(status === 0 || status === 125, `${line}: ${status}\n${stdout}${stderr}`);
    assert.doesNotMatch(stderr, /option|write|leave it out/, line);
  }
});

test("every line of qmp's is one that QEMU executes", async (t) => {
  const lab = new Lab(t);
  const lines = [...new Set(commands.map((each) => each.line).filter(isQmp))];
  lab.hook(
    'SIGUSR1',
    `#!/bin/sh\n${lines
      .filter((line) => line !== 'qmp --wait SHUTDOWN' && !line.includes('system_powerdown'))
      .map((line) => `${line} || exit 1`)
      .join('\n')}\n`,
  );
  lab.hook(
    'SIGTERM',
    '#!/bin/sh\nqmp set-action \'{"shutdown":"poweroff"}\' && exec qmp --wait SHUTDOWN system_powerdown\n',
  );
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks] });
  trap.kill('SIGUSR1');
  assert.equal((await trap.event('hook-end'))['outcome'], 'done', trap.stderr);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
});

const scripts = blocks.filter(({ text }) => text.startsWith('#!/bin/sh'));
const fragments = blocks.filter(({ language, text }) => language === 'sh' && !text.startsWith('#!'));

test('shellcheck passes on every script and every block of shell', () => {
  for (const { page, text } of scripts) {
    const { status, stdout } = spawnSync('shellcheck', ['-'], { input: text, encoding: 'utf8' });
    assert.equal(status, 0, `${page}\n${stdout}`);
  }
  for (const { page, text } of fragments) {
    const { status, stdout } = spawnSync('shellcheck', ['-s', 'sh', '-e', 'SC2164', '-'], {
      input: text,
      encoding: 'utf8',
    });
    assert.equal(status, 0, `${page}\n${stdout}`);
  }
});

test('the hook of the README tells the log, calls ssh, and the guest shuts down', async (t) => {
  const lab = new Lab(t);
  const text = scripts.find(({ page, text: each }) => page === 'README.md' && each.includes('ssh'))?.text ?? '';
  lab.hook('SIGTERM', `${text}\n`);
  const { env, calls } = standIns(lab, { ssh: '', logger: `cat >>${lab.file('calls')}` });
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks, '--name', 'web'], env });
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
  assert.match(calls().join('\n'), /web is shutting down, \d+ seconds left/);
  assert.match(calls().join('\n'), /^ssh .*root@web systemctl stop myapp$/m);
});

test('the hook `end` of the pages tells the log of a guest that was cut off, and of no other', async (t) => {
  const lab = new Lab(t);
  const text = scripts.find(({ text: each }) => each.includes('QEMU_TRAP_CUT_OFF'))?.text ?? '';
  lab.hook('end', `${text}\n`);
  const { env, calls } = standIns(lab, { logger: '' });
  for (const signal of ['SIGTERM', 'SIGQUIT'] as const) {
    const trap = await lab.startGuest({ options: ['--hooks', lab.hooks, '--name', 'web'], env });
    trap.kill(signal);
    await trap.status();
    assert.equal(calls().join('\n').includes('web was cut off'), signal === 'SIGQUIT', calls().join('\n'));
  }
});

test('the hook in Python presses the power button', async (t) => {
  const lab = new Lab(t);
  const text = blocks.find(({ language }) => language === 'python')?.text ?? '';
  lab.hook('SIGTERM', `${text}\n`);
  const trap = await lab.startGuest({ options: ['--hooks', lab.hooks] });
  trap.kill('SIGTERM');
  await until('the guest heard it', () => lab.said('pressed') > 0);
  assert.equal(await trap.status(), 0, trap.stderr);
  assert.equal(trap.events('powerdown').length, 1);
  assert.equal(trap.events('next-link').length, 0, trap.stderr);
});
