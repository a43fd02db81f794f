import { execFileSync } from 'node:child_process';
import { resolve } from 'node:path';
import { read, until, type Lab } from '../support/lab.js';
import { needsRecovery, SerialGuest } from '../support/serial-guest.js';

/*
 * A whole Debian in the guest, whose PostgreSQL is under load: see debian/root/usr/local/sbin/load for what it says.
 */

const made = resolve('.cache/debian-guest');

/** A boot under emulation takes half a minute, on a busy machine some minutes. */
const patienceMs = 600_000;

/** What a start of its PostgreSQL found. */
export interface Found {
  /** What PostgreSQL said of its last end. */
  readonly said: string;
  readonly rows: number;
  readonly last: number;
}

export class Debian extends SerialGuest {
  readonly answers: string;
  readonly agent: string;
  disk: string;

  constructor(private readonly lab: Lab) {
    super(lab.file('debian-serial'), patienceMs);
    this.answers = lab.file('answers');
    this.agent = lab.file('agent.sock');
    this.disk = lab.file('debian-disk');
    copySparse(`${made}/disk`, this.disk);
  }

  /** QEMU's command line. */
  get command(): string[] {
    return [
      ...['qemu-system-x86_64', '-M', 'pc', '-m', '512', '-display', 'none', '-nodefaults'],
      ...['-kernel', `${made}/vmlinuz`, '-initrd', `${made}/initrd.img`, '-append'],
      'root=/dev/vda ro console=ttyS0 quiet systemd.show_status=1',
      ...['-chardev', `file,id=serial,path=${this.serial},append=on`, '-serial', 'chardev:serial'],
      ...['-drive', `id=disk,file=${this.disk},format=raw,if=none`, '-device', 'virtio-blk,drive=disk'],
      ...['-device', 'virtio-serial', '-chardev', `file,id=answers,path=${this.answers},append=on`],
      ...['-device', 'virtserialport,chardev=answers,name=answers'],
      ...['-chardev', `socket,id=agent,path=${this.agent},server=on,wait=off`],
      ...['-device', 'virtserialport,chardev=agent,name=org.qemu.guest_agent.0'],
    ];
  }

  /** The number of the last commit that was answered; 0: none was. */
  get answered(): number {
    // The last line may have been cut off with its guest.
    return Number(read(this.answers).split('\n').at(-2) ?? 0);
  }

  /** Waits until this many commits more have been answered. */
  async commits(more: number): Promise<number> {
    const before = this.answered;
    await until(`${more} commits more`, () => this.answered >= before + more, patienceMs);
    return this.answered;
  }

  /** What each start of PostgreSQL found, in their order. */
  get found(): Found[] {
    const saying = /guest: postgresql said: (.*)\r\n[\s\S]*?guest: commits: (\d+)\|(\d+)/g;
    return [...this.log.matchAll(saying)].map(([, said = '', rows, last]) => ({
      said,
      rows: Number(rows),
      last: Number(last),
    }));
  }

  needsRecovery(disk = this.disk): boolean {
    return needsRecovery(disk);
  }

  /** A copy of its disk as it is now. */
  snapshot(name: string): string {
    const copy = this.lab.file(name);
    copySparse(this.disk, copy);
    return copy;
  }
}

function copySparse(from: string, to: string): void {
  execFileSync('cp', ['--sparse=always', from, to]);
}
