import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Lab, type Trap } from '../support/lab.js';
import { Linux, says } from '../support/linux.js';

/*
 * Machine type virt of aarch64. With UEFI it has ACPI, and its button is Linux's own; booted straight into a kernel it
 * has a device tree, and its button is a key on a GPIO line, for which Debian's cloud kernel has no driver.
 */

const uefi = ['-bios', '/usr/share/qemu-efi-aarch64/QEMU_EFI.fd'];

function start(lab: Lab, linux: Linux, firmware: readonly string[], options: readonly string[]): Trap {
  const command = [
    'qemu-system-aarch64',
    '-M',
    'virt',
    '-cpu',
    'cortex-a57',
    '-m',
    '512',
    '-display',
    'none',
    '-nodefaults',
    ...firmware,
    '-kernel',
    '.cache/linux-guest-arm64/vmlinuz',
    '-initrd',
    '.cache/linux-guest-arm64/initramfs.gz',
  ].map((word) => (word.startsWith('.cache') ? `${process.cwd()}/${word}` : word));
  return lab.start({
    command: [
      ...command,
      '-append',
      'console=ttyAMA0 quiet',
      '-chardev',
      `file,id=serial,path=${linux.serial},append=on`,
      '-serial',
      'chardev:serial',
      '-drive',
      `id=disk,file=${linux.disk},format=raw,if=none`,
      '-device',
      'virtio-blk-pci,drive=disk',
    ],
    options,
  });
}

test('aarch64 virt with UEFI: a clean shutdown, a clean reboot', async (t) => {
  const lab = new Lab(t);
  const linux = new Linux(lab);
  const trap = start(lab, linux, uefi, ['--signal', 'USR1,script=reboot']);
  await linux.says(says.up);
  trap.kill('SIGUSR1');
  await linux.says(says.up, 2);
  assert.equal((await trap.event('hook-end'))['outcome'], 'done');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0);
  assert.equal(linux.said(says.clean), 2);
  linux.assertClean();
});

test("aarch64 virt booted straight into Debian's cloud kernel: it does not hear its button, and the last line says that it was cut off", async (t) => {
  const lab = new Lab(t);
  const linux = new Linux(lab);
  const trap = start(lab, linux, [], ['--timeout', '5']);
  await linux.says(says.up);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 124);
  assert.equal(linux.said(says.pressed), 0);
  assert.equal(trap.verdict['verdict'], 'forced');
  assert.equal(trap.verdict['button'], 'unknown');
});
