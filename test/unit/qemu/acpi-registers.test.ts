import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  findEventBlock,
  hasEventBlock,
  hasEventDevice,
  isUnderXen,
  parsePort,
  readingOf,
} from '../../../src/qemu/acpi-registers.js';

/* What QEMU 7.2 prints; 10.0 and 11.1 print the same. */

const flat = (block: string): string =>
  `FlatView #2
 AS "I/O", root: io
 Root memory region: io
  00000000000000b3-00000000000000b3 (prio 0, i/o): apm-io @0000000000000001
  ${block}
  0000000000000604-0000000000000605 (prio 0, i/o): acpi-cnt
`.replaceAll('\n', '\r\n');

test('the event block is where the flat view has it, and nowhere else', () => {
  assert.equal(findEventBlock(flat('0000000000000600-0000000000000603 (prio 0, i/o): acpi-evt')), 0x600);
  assert.equal(findEventBlock(flat('000000000000b000-000000000000b003 (prio 0, i/o): acpi-evt')), 0xb000);
  assert.equal(findEventBlock(flat('0000000000000608-000000000000060b (prio 0, i/o): acpi-tmr')), null);
  assert.equal(findEventBlock(''), null);
});

test('a machine whose firmware has not placed the block, one with another device, one with neither', () => {
  const unplaced =
    '      0000000000000000-000000000000003f (prio 0, i/o): piix4-pm [disabled]\r\n        0000000000000000-0000000000000003 (prio 0, i/o): acpi-evt [disabled]\r\n';
  const other =
    '    00000000fea00000-00000000fea00003 (prio 0, i/o): acpi-ged\r\n    00000000fea00200-00000000fea00202 (prio 0, i/o): acpi-ged-regs\r\n';
  assert.deepEqual([hasEventBlock(unplaced), hasEventDevice(unplaced)], [true, false]);
  assert.deepEqual([hasEventBlock(other), hasEventDevice(other)], [false, true]);
  assert.deepEqual([hasEventBlock('memory-region: system'), hasEventDevice('memory-region: system')], [false, false]);
  assert.equal(isUnderXen(other), false);
  assert.equal(isUnderXen('  0000000000000000-000000000fffffff (prio 0, ram): xen.ram\r\n'), true);
});

test('the answer of i', () => {
  assert.equal(parsePort('portw[0x0602] = 0x0120\r\n'), 0x120);
  assert.equal(parsePort('portw[0xb000] = 0xffff\r\n'), 0xffff);
  for (const other of ['', "unknown command: 'i'\r\n", 'portw[0x0602] = \r\n', 'portw[0x0602] = 0x0120 0x1\r\n'])
    assert.equal(parsePort(other), null, other);
});

test('what the registers say: bit 8 of each, bit 15 of the status, and a port that nothing answers at', () => {
  const registers = { listens: false, isPending: false, isAwakened: false };
  for (const [status, enable, reading] of [
    [0x0001, 0x0000, registers],
    [0x0001, 0x0020, registers],
    [0x0001, 0x0120, { ...registers, listens: true }],
    [0x0101, 0x0120, { ...registers, listens: true, isPending: true }],
    [0x0101, 0x0020, { ...registers, isPending: true }],
    [0x8101, 0x0120, { ...registers, listens: true, isPending: true, isAwakened: true }],
    [0xffff, 0xffff, null],
    [0x0001, 0xffff, null],
    [0xffff, 0x0120, null],
  ] as const)
    assert.deepEqual(readingOf(status, enable), reading);
});
