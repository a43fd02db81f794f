import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { after, test } from 'node:test';
import { read, until } from '../support/lab.js';
import { boxed } from './box.js';
import { must, sh, Vm } from './vm.js';

/*
 * The Debian package, by the tools of Debian: built, installed with apt-get, used by systemd, upgraded, removed and
 * purged.
 */

boxed('systemd', 'the Debian package', () => {
  const dir = mkdtempSync('/tmp/qemu-trap-deb-');
  after(() => rmSync(dir, { recursive: true, force: true }));
  const log = `${dir}/unit.log`;
  const vm = new Vm(() => [log]);
  after(() => vm.remove());
  const unit = 'qemu-trap@web';
  const aptInstall = (names: readonly string[], version: string): string => {
    const files = names.map((name) => `${dir}/${name}_${version}_all.deb`).join(' ');
    return `DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends ${files}`;
  };
  const build = (version: string): string =>
    must(`QEMU_TRAP_DEB_VERSION=${version} sh ${resolve('packaging/deb/build.sh')} ${dir}`);
  const install = (version: string): void => {
    build(version);
    must(aptInstall(['qemu-trap'], version));
  };
  const start = async (): Promise<void> => {
    vm.configure();
    must(`systemctl start ${unit}`);
    await vm.says('up');
  };

  test("npm's own link in the way is left alone, and a line says what to do", () => {
    build('0.1.0');
    must('ln -s ../lib/node_modules/qemu-trap/dist/qemu-trap.cjs /usr/bin/qemu-trap');
    const { status, output } = sh(aptInstall(['qemu-trap'], '0.1.0'));
    assert.notEqual(status, 0);
    assert.match(
      output,
      /^qemu-trap: \/usr\/bin\/qemu-trap is that of npm; remove it first: npm uninstall -g qemu-trap$/m,
    );
    must('rm /usr/bin/qemu-trap');
  });

  test('it installs with what it depends on, and its command, pages, completions and unit are where Debian has them', () => {
    install('0.1.0');
    assert.equal(must('qemu-trap --version').trim(), JSON.parse(readFileSync('package.json', 'utf8')).version);
    assert.equal(must('command -v qemu-trap').trim(), '/usr/bin/qemu-trap');
    for (const page of ['qemu-trap', 'qemu-trap-hooks'])
      assert.match(must(`man -w ${page}`), /^\/usr\/share\/man\/man[17]\//);
    for (const path of [
      '/usr/share/bash-completion/completions/qemu-trap',
      '/usr/share/zsh/vendor-completions/_qemu-trap',
      '/usr/share/fish/vendor_completions.d/qemu-trap.fish',
    ])
      assert.ok(existsSync(path), path);
    assert.equal(must('dpkg --verify qemu-trap'), '');
    // The systemd of a box does not look where Debian has units: all that the host has would be started.
    must(
      'mkdir -p /etc/systemd/system && ln -s /usr/lib/systemd/system/qemu-trap@.service /etc/systemd/system/ && systemctl daemon-reload',
    );
    assert.match(must('systemctl cat qemu-trap@web'), /^ExecStart=.* exec \/usr\/bin\/qemu-trap --name/m);
    assert.equal(must("dpkg-query -W -f '${Conffiles}' qemu-trap").trim().split(' ')[0], '/etc/qemu-trap/hooks/README');
    const { status, output } = sh('cd / && qemu-trap --check');
    assert.equal(status, 0, output);
    assert.match(output, /\/usr\/lib\/qemu-trap\/hooks\/powerdown/);
  });

  test('its unit runs a VM, with a hook from /etc/qemu-trap/hooks, and shuts it down', async () => {
    // The guest's disk and its serial line lie in /tmp here, and its snapshot in /var/tmp: the unit has its own of both.
    must('mkdir -p /etc/systemd/system/qemu-trap@.service.d');
    writeFileSync(
      '/etc/systemd/system/qemu-trap@.service.d/test.conf',
      `[Service]\nStandardError=append:${log}\nPrivateTmp=no\nReadWritePaths=/tmp /var/tmp\n`,
    );
    must('systemctl daemon-reload');
    must('qemu-trap --new-hook SIGTERM');
    assert.equal(statSync('/etc/qemu-trap/hooks/SIGTERM').mode & 0o777, 0o755);
    await start();
    await until('--status has it', () => /^web +\d+ +\d+ +running /m.test(must('qemu-trap --status')));
    must(`systemctl stop ${unit}`);
    await vm.wasClean();
    assert.match(vm.log, /running hook \/etc\/qemu-trap\/hooks\/SIGTERM/);
    assert.match(must('qemu-trap --status web'), /web: 1 stop on a signal, 1 by the guest itself/);
  });

  test('an upgrade keeps hooks and what was changed in the configuration, and the VM runs on', async () => {
    await start();
    const [before] = vm.qemus;
    writeFileSync('/etc/qemu-trap/hooks/README', 'mine\n');
    install('0.1.1');
    assert.equal(must("dpkg-query -W -f '${Version}' qemu-trap"), '0.1.1');
    assert.equal(read('/etc/qemu-trap/hooks/README'), 'mine\n');
    assert.ok(existsSync('/etc/qemu-trap/hooks/SIGTERM'));
    assert.deepEqual(vm.qemus, [before]);
    must(`systemctl stop ${unit}`);
    await vm.wasClean();
  });

  test('qemu-trap-dropin puts qemu-trap in the place of QEMU, is upgraded with it, and leaves no link behind', () => {
    const real = must('readlink -f /usr/bin/qemu-system-x86_64').trim();
    must(aptInstall(['qemu-trap-dropin'], '0.1.1'));
    const program = '/usr/lib/qemu-trap/dist/qemu-trap.cjs';
    assert.equal(must('readlink -f /usr/bin/qemu-system-x86_64').trim(), program);
    assert.match(must('/usr/bin/qemu-system-x86_64 --version'), /^QEMU emulator version/);
    build('0.1.2');
    must(aptInstall(['qemu-trap', 'qemu-trap-dropin'], '0.1.2'));
    assert.equal(must('readlink -f /usr/bin/qemu-system-x86_64').trim(), program);
    must('DEBIAN_FRONTEND=noninteractive apt-get remove -q -y qemu-trap-dropin');
    assert.equal(must('readlink -f /usr/bin/qemu-system-x86_64').trim(), real);
    assert.equal(must('dpkg-divert --list | grep qemu || true'), '');
    assert.equal(must('find /usr/bin /usr/libexec /usr/local/bin -xtype l -name "*qemu*"'), '');
    // With the package that it depends on it goes as well.
    must(aptInstall(['qemu-trap-dropin'], '0.1.2'));
  });

  test("its removal shuts the VMs down, and keeps hooks; a purge takes the rest, but not what is the administrator's", async () => {
    await start();
    const said = must('DEBIAN_FRONTEND=noninteractive apt-get remove -q -y qemu-trap');
    await vm.wasClean();
    assert.match(said, new RegExp(`^qemu-trap: shutting down ${unit}.service `, 'm'));
    assert.equal(must('find /usr/bin /usr/libexec /usr/local/bin -xtype l -name "*qemu*"'), '');
    assert.match(must('/usr/bin/qemu-system-x86_64 --version'), /^QEMU emulator version/);
    assert.equal(sh('command -v qemu-trap').status, 127);
    assert.ok(!existsSync('/usr/lib/qemu-trap'));
    assert.ok(existsSync('/etc/qemu-trap/hooks/SIGTERM'));
    must('DEBIAN_FRONTEND=noninteractive apt-get purge -q -y qemu-trap');
    assert.ok(!existsSync('/etc/qemu-trap/hooks/README'));
    assert.ok(!existsSync('/var/lib/qemu-trap'));
    assert.ok(existsSync('/etc/qemu-trap/hooks/SIGTERM'));
  });
});
