import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isOption } from '../../qemu/argv.js';
import { UsageError } from '../../system/usage-error.js';
import { bootSector } from './guest.js';

/** A value in QEMU's option style (util/qemu-option.c). */
function optValue(text: string): string {
  return text.replaceAll(',', ',,');
}

/** A guest of 512 bytes that hears its power button, and nothing else. */
export function throwAwayGuest(dir: string): string[] {
  const image = join(dir, 'guest.img');
  writeFileSync(image, bootSector());
  return [
    'qemu-system-x86_64',
    '-M',
    'pc',
    '-m',
    '16',
    '-display',
    'none',
    '-net',
    'none',
    '-serial',
    `unix:${optValue(join(dir, 'serial'))}`,
    '-drive',
    `file=${optValue(image)},format=raw,snapshot=on`,
  ];
}

/** Options of QEMU that `-snapshot` does nothing for. */
const notSnapshotted = ['blockdev', 'fsdev', 'virtfs'];

/** The user's own command line, with what keeps its disks as they are. */
export function withSnapshot(qemu: readonly string[]): string[] {
  const written = notSnapshotted.find((name) => qemu.some((word) => isOption(word, name)));
  if (written !== undefined || qemu.some((word) => /(^|,)snapshot=off\b/.test(word)))
    throw new UsageError(
      `--try: -snapshot does not protect the disk of ${written === undefined ? 'snapshot=off' : `-${written}`}: leave it out, or name the disk with -drive`,
    );
  return [...qemu, '-snapshot'];
}
