import { Assembler } from './assembler.js';

/** How the guest takes the power button. */
export type PowerButtonBehaviour =
  /** Says goodbye, and powers off. */
  | 'obedient'
  /** Says that it was pressed, and stays. */
  | 'stubborn'
  /** Never listens. */
  | 'deaf'
  /** Listens, and then does nothing any more. */
  | 'hung'
  /** Takes presses and does nothing for about three seconds, as a kernel does whose services are still to come. */
  | 'early'
  /** Resets at its first press after each power-on of QEMU's memory, and powers off at the next. */
  | 'rebooting'
  /** Hears nothing for about three seconds, as firmware and boot loaders do. */
  | 'slow'
  /** Falls asleep (ACPI S3) as soon as it is up; once woken it boots anew, and is obedient. */
  | 'sleeping'
  /** Says that it was pressed, then waits for about two seconds before it powers off. */
  | 'lingering';

/** What it prints on its serial line. */
export const guestSays = {
  up: 'guest: up',
  pressed: 'guest: power button',
  bye: 'guest: bye',
} as const;

const com1 = 0x3f8;
const lineStatus = com1 + 5;
const transmitterEmpty = 0x20;
/** PIIX4, as machine type `pc` has it: SMI command port, and the PM1a registers of ACPI. */
const smiCommand = 0xb2;
const acpiEnable = 0xf1;
const pm1Status = 0x600;
const pm1Enable = 0x602;
const pm1Control = 0x604;
const powerButton = 0x100;
const softOff = 0x2000;
const suspendToMemory = 0x2400;
/** The PC's timer interrupt ends `hlt` 18.2 times a second. */
const ticksPerSecond = 18;
/** A byte that survives a reset, unlike what the firmware loads anew: CMOS memory. */
const cmosIndex = 0x70;
const cmosData = 0x71;
const cmosSpare = 0x50;
const beenHere = 0x5a;

/**
 * A whole ACPI guest in 512 bytes, for machine type `pc`: it says that it is up, and at the power button it does what
 * its temper has it do.
 */
export function bootSector(temper: PowerButtonBehaviour = 'obedient'): Buffer {
  const asm = new Assembler(0x7c00);
  asm.cli().xorAxAx().movDsAx().movSsAx().movSp(0x7c00).sti();
  if (temper === 'slow')
    asm
      .movCx(3 * ticksPerSecond)
      .label('doze')
      .hlt()
      .loop('doze');
  asm.movAl(acpiEnable).outAl(smiCommand);
  if (temper !== 'deaf') asm.movDx(pm1Enable).movAx(powerButton).outDxAx();
  asm.movSi('up').call('print');
  if (temper === 'hung') asm.cli().label('hang').hlt().jmp('hang');

  if (temper === 'sleeping') {
    asm.movAl(cmosSpare).outAl(cmosIndex).movDx(cmosData).inAlDx().xorAlImmediate(beenHere).jz('wait');
    asm.movAl(cmosSpare).outAl(cmosIndex).movAl(beenHere).outAl(cmosData);
    asm.movDx(pm1Control).movAx(suspendToMemory).outDxAx();
  }
  if (temper === 'early') {
    asm
      .movCx(3 * ticksPerSecond)
      .label('early')
      .hlt();
    asm
      .movDx(pm1Status)
      .inAxDx()
      .testAh(powerButton >> 8)
      .jz('idle');
    asm.movAx(powerButton).outDxAx();
    asm.label('idle').loop('early');
  }
  asm.label('wait').hlt();
  asm
    .movDx(pm1Status)
    .inAxDx()
    .testAh(powerButton >> 8)
    .jz('wait');
  asm.movAx(powerButton).outDxAx();
  asm.movSi('pressed').call('print');
  if (temper === 'stubborn') asm.jmp('wait');
  if (temper === 'rebooting') {
    asm.movAl(cmosSpare).outAl(cmosIndex).movDx(cmosData).inAlDx();
    asm.xorAlImmediate(beenHere).jz('off');
    asm.movAl(cmosSpare).outAl(cmosIndex).movAl(beenHere).outAl(cmosData);
    // Reset control register of the PIIX3: a hard reset.
    asm.movDx(0xcf9).movAl(0x06).outDxAl();
    asm.label('gone').hlt().jmp('gone');
  }
  if (temper === 'lingering')
    asm
      .movCx(2 * ticksPerSecond)
      .label('linger')
      .hlt()
      .loop('linger');
  asm.label('off').movSi('bye').call('print');
  asm.movDx(pm1Control).movAx(softOff).outDxAx();
  asm.label('end').hlt().jmp('end');

  asm.label('print').lodsb().orAlAl().jz('printed').pushAx();
  asm.label('busy').movDx(lineStatus).inAlDx().testAl(transmitterEmpty).jz('busy');
  asm.popAx().movDx(com1).outDxAl().jmp('print');
  asm.label('printed').ret();

  for (const [label, words] of Object.entries(guestSays)) asm.label(label).text(`${words}\r\n`);
  return asm.bootSector();
}
