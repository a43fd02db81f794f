import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { test } from 'node:test';

test('npm run demo shows the main job', () => {
  const { status, stdout } = spawnSync(process.execPath, ['build/demo/main.mjs'], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  assert.equal(status, 0, stdout);
  // The guest's words, qemu-trap's and QEMU's come by three ways: each in its order, and no order between them.
  const guest = [
    'guest      up',
    'kill -TERM',
    'power button',
    'bye',
    'status 0',
    'bare QEMU',
    'guest      up',
    'kill -TERM',
    'status 0',
  ];
  const trap = ['QEMU started', 'the hook powerdown succeeded', 'clean shutdown', 'bare QEMU'];
  const qemu = ['POWERDOWN', 'SHUTDOWN: guest-shutdown', 'bare QEMU'];
  for (const inOrder of [guest, trap, qemu]) {
    let at = -1;
    for (const words of inOrder) {
      const next = stdout.indexOf(words, at + 1);
      assert.ok(next > at, `${words}, after what came before, in:\n${stdout}`);
      at = next;
    }
  }
});

/** The scripts of the examples: the files that say in their first line what runs them. */
const exampleScripts = (readdirSync('examples', { recursive: true }) as string[])
  .map((name) => `examples/${name}`)
  .filter((path) => statSync(path).isFile() && /^#!\/bin\/sh\n/.test(readFileSync(path, 'utf8')));

test('shellcheck passes on every hook, on the examples, on the qmp command and on the scripts of the project', () => {
  const scripts = [
    ...readdirSync('hooks')
      .filter((name) => name !== 'lib')
      .map((name) => `hooks/${name}`),
    ...readdirSync('hooks/lib').map((name) => `hooks/lib/${name}`),
    'build.sh',
    'test/setup.sh',
    'test/run.sh',
    'test/support/apart.sh',
    'test/guests/run.sh',
    'test/endurance/run.sh',
    'bench/run.sh',
    'test/engines/run.sh',
    'test/engines/base.sh',
    'bench/in-box.sh',
    'bench/by-hand.sh',
    'test/support/linux-guest/make.sh',
    'test/support/linux-guest/init',
    'test/guests/debian/make.sh',
    'test/guests/debian/root/usr/local/sbin/load',
    'packaging/standalone/build.sh',
    'packaging/npm/build.sh',
    'packaging/release.sh',
    'packaging/epoch.sh',
    ...['postinst', 'prerm'].map((name) => `packaging/deb/dropin/${name}`),
    'test/managers/fetch.sh',
    ...readdirSync('test/packages')
      .filter((name) => name.endsWith('.sh'))
      .map((name) => `test/packages/${name}`),
    'test/managers/box.sh',
    '.ci/run',
    ...['build.sh', 'preinst', 'postinst', 'prerm', 'postrm'].map((name) => `packaging/deb/${name}`),
    ...exampleScripts,
  ];
  execFileSync('shellcheck', scripts, { stdio: 'inherit' });
});

test('every engine of the examples gives more time than --timeout and --kill-after take', () => {
  const times: readonly [file: string, time: RegExp][] = [
    ['container/Containerfile', /--stop-timeout (\d+)/],
    ['container/compose.yaml', /^ +stop_grace_period: (\d+)s$/m],
    ['container/pod.yaml', /^ +terminationGracePeriodSeconds: (\d+)$/m],
    ['nomad/web.nomad.hcl', /^ +kill_timeout = "(\d+)s"$/m],
    ['nomad/web.nomad.hcl', /max_kill_timeout = "(\d+)s"/],
  ];
  for (const [file, time] of times)
    assert.ok(Number(time.exec(readFileSync(`examples/${file}`, 'utf8'))?.[1]) > 60 + 10, `${file}: ${time}`);
});

test("the example's container is built of files that are there, and of all that the build reads", () => {
  const file = readFileSync('examples/container/Containerfile', 'utf8');
  const copied = [...file.matchAll(/^COPY (?!--from)(?:--\S+ )*(.+) \S+$/gm)].flatMap(([, paths]) =>
    String(paths).split(' '),
  );
  for (const path of copied) assert.ok(existsSync(path), path);
  const read = [...readFileSync('build.sh', 'utf8').matchAll(/(?:^| |=)((?:src|packaging|docs)\/\S+)/gm)].map(
    ([, path]) => String(path).split('/')[0],
  );
  for (const folder of read) assert.ok(copied.includes(String(folder)), folder);
});

test('the example hook of the README passes shellcheck', () => {
  const example = /```sh\n(#!\/bin\/sh\necho "\$QEMU_TRAP_VM[\s\S]*?)```/.exec(readFileSync('README.md', 'utf8'))?.[1];
  assert.ok(example && example.trim().split('\n').length === 4);
  execFileSync('shellcheck', ['-'], { input: example });
});

test('shipped as bundled CommonJS, with the four dependencies in it, and the traps in a file of their own', () => {
  const bundle = readdirSync('dist')
    .filter((name) => name.endsWith('.cjs'))
    .map((name) => readFileSync(`dist/${name}`, 'utf8'))
    .join('');
  for (const words of ['require_cross_spawn = ', 'require_tree_kill = ', 'require_minimist = ', 'signal-exit emitter'])
    assert.ok(bundle.includes(words), words);
  assert.doesNotMatch(bundle, /require\("(cross-spawn|tree-kill|minimist|signal-exit)"\)/);
});

function findTest(name: string): string {
  return ['e2e', 'project'].map((folder) => `test/${folder}/${name}.test.ts`).find(existsSync) ?? name;
}

test('every attempt that docs/security.md counts is a test, and every attempt in trespass is counted', () => {
  const titles = (file: string): string[] =>
    [...readFileSync(findTest(file), 'utf8').matchAll(/^test\(\s*(['"])(.*?)\1,\s/gm)].map(
      ([, , title]) => `${file}: ${title}`,
    );
  const counted = [...readFileSync('docs/security.md', 'utf8').matchAll(/ \| (\S+): (.+) \|$/gm)].map(
    ([, file, title]) => `${file}: ${title}`,
  );
  assert.ok(counted.length > 10);
  for (const title of counted) assert.ok(titles(title.split(':')[0] as string).includes(title), title);
  // Of nobody's doing but the machine's.
  const notAttempts = /without exec|directory of steps|without \/proc|read-only|last option/;
  assert.deepEqual(
    titles('trespass').filter((title) => !counted.includes(title) && !notAttempts.test(title)),
    [],
  );
});
