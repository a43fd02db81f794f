import type { ButtonReading } from '../outcome/button-evidence.js';

/*
 * Where QEMU has a machine's PM1 event block, and what stands in it, from what its human monitor prints. Tried with QEMU
 * 7.2, 10.0 and 11.1.
 */

/** Bits of PM1 status and enable (ACPI specification, 4.8.3.1). */
const powerButtonBit = 0x0100;
const wakeBit = 0x8000;
/** Of a port that nothing answers at. */
const noAnswer = 0xffff;

/**
 * The port of the block in `info mtree -f`, which lists it only once firmware has placed it; `null` if it is not there.
 */
export function findEventBlock(flatTree: string): number | null {
  const found = /^ *([0-9a-f]+)-[0-9a-f]+ \(.*\): acpi-evt\b/m.exec(flatTree);
  return found === null ? null : parseInt(found[1] as string, 16);
}

/** Whether the machine has a block at all, placed or not, by `info mtree`. */
export function hasEventBlock(tree: string): boolean {
  return /: acpi-evt\b/.test(tree);
}

/** Whether its button is another device (ACPI specification, 5.6.9, "Generic Event Device"), by `info mtree`. */
export function hasEventDevice(tree: string): boolean {
  return /: acpi-ged\b/.test(tree);
}

/** Under Xen the registers are the hypervisor's, and QEMU's stay as they are. */
export function isUnderXen(tree: string): boolean {
  return /: xen\.ram\b/.test(tree);
}

/** The number in the answer to `i /h PORT`. */
export function parsePort(answer: string): number | null {
  const found = /^portw\[0x[0-9a-f]+\] = (0x[0-9a-f]+)\s*$/.exec(answer);
  return found === null ? null : Number(found[1]);
}

/** What the registers of the block say; `null` if it does not lie there any more. */
export function readingOf(status: number, enable: number): ButtonReading | null {
  if (status === noAnswer || enable === noAnswer) return null;
  return {
    listens: (enable & powerButtonBit) !== 0,
    isPending: (status & powerButtonBit) !== 0,
    isAwakened: (status & wakeBit) !== 0,
  };
}
