/*
 * What QEMU's command line has to have, so that an event comes and its hook can do something about it.
 */

interface Need {
  readonly what: string;
  readonly fix: string;
}

interface Wanted extends Need {
  /** A word of QEMU's that will do. */
  readonly word: RegExp;
}

const wanted: Readonly<Record<string, readonly Wanted[]>> = {
  GUEST_PANICKED: [
    {
      word: /pvpanic|hv[-_]crash/,
      what: 'QEMU knows of a panic by a device only, and this command line has none',
      fix: '-device pvpanic (pvpanic-pci on others than x86)',
    },
    {
      word: /(^|,)panic=(pause|none)/,
      what: 'QEMU exits when it has said so, and the hook has no monitor',
      fix: '-action panic=pause, if the hook is to dump the guest, or to start it anew',
    },
  ],
  WATCHDOG: [
    {
      word: /i6300esb|ib700|diag288|noreboot|wdt/,
      what: 'this command line has no watchdog, unless the machine has one of its own',
      fix: '-device i6300esb, or -device ib700',
    },
  ],
};

/** What is missing in `qemu` for the hook of `event`. */
export function findEventNeeds(event: string, qemu: readonly string[]): readonly Need[] {
  const needs = Object.hasOwn(wanted, event) ? (wanted[event] as readonly Wanted[]) : [];
  return needs.filter(({ word }) => !qemu.some((each) => word.test(each)));
}
