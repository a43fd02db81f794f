import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { after, before, test } from 'node:test';
import { Lab, Trap } from '../support/lab.js';

/*
 * The very tarball of `npm run tarball`, installed into an empty prefix with each Node that it is for, and without the
 * registry.
 */

const packed = mkdtempSync(join(tmpdir(), 'qemu-trap-pack-'));
let tarball = '';

before(() => {
  tarball = execFileSync('sh', ['packaging/npm/build.sh', packed], { encoding: 'utf8' }).trim();
});
after(() => rmSync(packed, { recursive: true, force: true }));

for (const major of [18, 20, 22, 24]) {
  const node = resolve(`.cache/nodes/node_modules/node${major}/bin/node`);
  const skip = existsSync(node) ? false : 'test/setup.sh could not get it';
  test(`npm's package, installed globally with Node ${major}, runs a VM from any directory`, { skip }, async (t) => {
    const lab = new Lab(t);
    const prefix = lab.file('prefix');
    mkdirSync(prefix);
    const env = {
      PATH: [dirname(node), join(prefix, 'bin'), process.env['PATH']].join(delimiter),
      QEMU_TRAP_HOOKS: '',
    };
    const { status, stderr } = spawnSync(
      'npm',
      ['install', '-g', '--prefix', prefix, '--offline', '--cache', lab.file('cache'), tarball],
      { encoding: 'utf8', env: { ...process.env, ...env } },
    );
    assert.equal(status, 0, stderr);
    assert.doesNotMatch(stderr, /qemu-trap|scripts|deprecated/);
    const installed = join(prefix, 'lib/node_modules/qemu-trap');
    assert.deepEqual(
      readdirSync(join(installed, 'node_modules')).filter((name) => /esbuild|typescript|marked|types/.test(name)),
      [],
    );
    for (const page of ['man1/qemu-trap.1', 'man7/qemu-trap-hooks.7'])
      assert.ok(existsSync(join(prefix, 'share/man', page)), page);

    const call = (...words: string[]): string =>
      execFileSync('qemu-trap', words, { encoding: 'utf8', cwd: '/', env: { ...process.env, ...env } });
    assert.match(call('--help'), /^Usage: qemu-trap/);
    assert.match(call('--check'), new RegExp(`^SIGTERM +${installed}/hooks/powerdown `, 'm'));
    const trap = new Trap(
      lab,
      lab.spawn(
        ['qemu-trap', '--run-dir', lab.runDir, '--state-dir', lab.file('state'), '--log', 'json', '--', ...lab.guest()],
        { cwd: '/', env },
      ),
    );
    await trap.ready();
    await lab.guestSaid('up');
    assert.match(
      execFileSync(`/proc/${trap.pid}/exe`, ['-p', 'process.versions.node'], { encoding: 'utf8' }),
      new RegExp(`^${major}\\.`),
    );
    assert.match(call('--status', '--run-dir', lab.runDir), /running/);
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0, trap.stderr);
    assert.equal(lab.said('bye'), 1);
    assert.equal(trap.events('hook-start')[0]?.['hook'], join(installed, 'hooks/powerdown'));
    await lab.assertNothingLeft();
  });
}
