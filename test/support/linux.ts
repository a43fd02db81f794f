import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, truncateSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Lab } from './lab.js';
import { needsRecovery, SerialGuest } from './serial-guest.js';

/*
 * A real Linux in the guest: see linux-guest/init for what it does and says.
 */

const made = resolve('.cache/linux-guest');

/**
 * A microvm has no clock but the PIT to measure the processor's own against. On a host whose processor time comes in
 * pieces that fails under software emulation, and Linux 6.1 then waits for ever for a timer, before its first line. So
 * it is told the rate: what it believes only makes its clock run fast or slow, which nothing here looks at.
 */
const microClock = ' tsc_early_khz=2000000';

/** On a busy host a boot under software emulation may find its timer too slow, and panic for that. */
const slowTimer = ' no_timer_check';

/** For a test's options: skips it where the guest could not be made. */
export const needsLinux = {
  skip: existsSync(`${made}/made`) ? false : 'no Linux guest here: test/support/linux-guest/make.sh needs apt-get',
};

export interface LinuxOptions {
  readonly machine?: string;
  /** Words for linux-guest/init: `ignore`, `noagent`, `hungagent`, `idle`, `calm`, `updates`, `stands`, `forever`. */
  readonly words?: readonly string[];
  readonly memory?: number;
  /** The host's disk is full (ENOSPC): for the first write, or for each. */
  readonly full?: 'once' | 'always';
  readonly more?: readonly string[];
}

/** What linux-guest/init says, in the order of its life. */
export const says = {
  clean: 'guest: disk was clean',
  recovered: 'guest: disk was recovered',
  up: 'guest: up',
  pressed: 'guest: power says shut down',
  asked: 'guest: agent says shut down',
  bye: 'guest: bye',
} as const;

export class Linux extends SerialGuest {
  readonly disk: string;
  readonly agent: string;

  constructor(lab: Lab) {
    super(lab.file('linux-serial'), 60_000);
    this.disk = lab.file('linux-disk');
    this.agent = lab.file('agent.sock');
    writeFileSync(this.disk, '');
    truncateSync(this.disk, 32 << 20);
    // Whole: the kernel would write what is missing when it has the time.
    execFileSync('mkfs.ext4', ['-q', '-F', '-E', 'lazy_itable_init=0,lazy_journal_init=0', this.disk]);
  }

  /** QEMU's command line. */
  command(options: LinuxOptions = {}): string[] {
    const words = (options.words ?? []).map((word) => ` guest.${word}`).join('');
    const micro = options.machine?.startsWith('microvm') ?? false;
    return [
      'qemu-system-x86_64',
      '-M',
      options.machine ?? 'pc',
      '-m',
      String(options.memory ?? 192),
      '-display',
      'none',
      '-nodefaults',
      '-kernel',
      `${made}/vmlinuz`,
      '-initrd',
      `${made}/initramfs.gz`,
      '-append',
      `console=ttyS0 quiet${slowTimer}${micro ? microClock : ''}${words}`,
      '-chardev',
      `file,id=serial,path=${this.serial},append=on`,
      '-serial',
      'chardev:serial',
      '-drive',
      `id=disk,format=raw,if=none,${this.#file(options.full)}`,
      '-device',
      `${micro ? 'virtio-blk-device' : 'virtio-blk'},drive=disk`,
      '-device',
      micro ? 'virtio-serial-device' : 'virtio-serial',
      '-chardev',
      `socket,id=agent,path=${this.agent},server=on,wait=off`,
      '-device',
      'virtserialport,chardev=agent,name=org.qemu.guest_agent.0',
      ...(options.more ?? []),
    ];
  }

  #file(full: LinuxOptions['full']): string {
    if (full === undefined) return `file=${this.disk}`;
    const fault = ['event=write_aio', 'errno=28', `once=${full === 'once' ? 'on' : 'off'}`];
    return [
      'werror=stop,file.driver=blkdebug,file.image.driver=file',
      `file.image.filename=${this.disk}`,
      ...fault.map((each) => `file.inject-error.0.${each}`),
    ].join();
  }

  /** Whether the next mount would have to recover the file system. */
  needsRecovery(): boolean {
    return needsRecovery(this.disk);
  }

  /** The lines that the guest wrote to its disk. */
  lines(): string[] {
    return execFileSync('debugfs', ['-R', 'cat /lines', this.disk], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      maxBuffer: 1 << 26,
    })
      .trimEnd()
      .split('\n');
  }

  /** The guest shut itself down: the disk is clean, and the last line that it wrote is there. */
  assertClean(): void {
    assert.equal(this.needsRecovery(), false, 'the file system is clean');
    execFileSync('e2fsck', ['-fn', this.disk], { stdio: 'ignore' });
    const wrote = [...this.log.matchAll(/guest: wrote (\d+) lines/g)].at(-1)?.[1];
    const lines = this.lines();
    assert.equal(lines.at(-1), 'last line');
    assert.equal(lines.length, Number(wrote), 'every line that it wrote is there');
  }
}
