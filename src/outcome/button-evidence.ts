/*
 * What is known of the guest's power button, from the registers that QEMU lets be read: the PM1 event block of the ACPI
 * specification (4.8.3.1, "PM1 Event Grouping").
 */

/** Whether the machine has the registers. `not-placed`: its firmware has still to place them; `unreadable`: its button is another device. */
export type ButtonPlace = 'placed' | 'not-placed' | 'no-acpi' | 'unreadable';

/** What the registers say. */
export interface ButtonReading {
  /** PWRBTN_EN: the guest listens. */
  readonly listens: boolean;
  /** PWRBTN_STS: pressed, and not taken by the guest yet. */
  readonly isPending: boolean;
  /** WAK_STS: the guest was woken, which sets PWRBTN_STS as well. */
  readonly isAwakened: boolean;
}

/** What can be told of the last press. */
export type ButtonState = 'not-listening' | 'not-taken' | 'taken' | 'no-acpi' | 'unknown';

export interface ButtonEvidence {
  readonly machine: 'acpi' | 'no-acpi' | 'unreadable';
  /** By the last reading; `null` if there was none since the guest began anew. */
  readonly listens: boolean | null;
  /**
   * The last press. QEMU forgets one that comes while the guest does not listen. `lost`: a guest that did not listen
   * after it, or has been reset since, will never hear it. `unsure`: nothing shows that the guest listened before it.
   * `heard`: the guest listened before it. `pending` and `taken`: by a reading after it.
   */
  readonly press: 'none' | 'lost' | 'unsure' | 'heard' | 'pending' | 'taken';
}

export const noButtonEvidence: ButtonEvidence = { machine: 'acpi', listens: null, press: 'none' };

/** The button was pressed. */
export function withPress(evidence: ButtonEvidence): ButtonEvidence {
  // One more changes nothing: the bit is set already.
  if (evidence.press === 'pending') return evidence;
  return { ...evidence, press: evidence.listens ? 'heard' : 'unsure' };
}

/** The guest began anew: after RESET, or woken from its sleep, in which its registers were lost. */
export function withNewGuest(evidence: ButtonEvidence): ButtonEvidence {
  return { ...evidence, listens: null, press: evidence.press === 'none' ? 'none' : 'lost' };
}

/** The registers were looked up. */
export function withPlace(evidence: ButtonEvidence, place: ButtonPlace): ButtonEvidence {
  if (place === 'placed') return evidence;
  if (place !== 'not-placed') return { ...evidence, machine: place, listens: null };
  return withReading(evidence, { listens: false, isPending: false, isAwakened: false });
}

/** @param reading which began after the last press */
export function withReading(evidence: ButtonEvidence, reading: ButtonReading): ButtonEvidence {
  const { press } = evidence;
  const { listens } = reading;
  if (reading.isAwakened) return { ...evidence, listens };
  if (reading.isPending) return { ...evidence, listens, press: 'pending' };
  if (listens) return { ...evidence, listens, press: press === 'heard' || press === 'pending' ? 'taken' : press };
  return { ...evidence, listens, press: press === 'none' ? press : 'lost' };
}

/** The guest listens now, and has not heard the last press. */
export function hasBegunToListen({ listens, press }: ButtonEvidence): boolean {
  return listens === true && press === 'lost';
}

/** Before the next press, or a new guest, no reading says more. */
export function isSettled({ machine, listens, press }: ButtonEvidence): boolean {
  return machine !== 'acpi' || (listens === true && (press === 'taken' || press === 'unsure'));
}

/** A press would change nothing: the guest does not listen, or has still to take the last one. */
export function isUselessToPress({ machine, listens, press }: ButtonEvidence): boolean {
  return machine === 'no-acpi' || press === 'pending' || listens === false;
}

/** What can be told; `null` if the button was not pressed. */
export function buttonStateOf({ machine, listens, press }: ButtonEvidence): ButtonState | null {
  if (press === 'none') return null;
  if (machine !== 'acpi') return machine === 'no-acpi' ? 'no-acpi' : 'unknown';
  if (press === 'pending') return 'not-taken';
  if (press === 'taken') return 'taken';
  // Until it is read again, nothing is known of a guest that began anew.
  if (press === 'lost') return listens === null ? 'unknown' : 'not-listening';
  return listens === false ? 'not-listening' : 'unknown';
}
