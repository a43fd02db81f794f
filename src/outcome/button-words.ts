import type { ButtonState } from './button-evidence.js';

interface Words {
  /** While the guest is still there. */
  readonly alive: string;
  /** Of a guest that was cut off. */
  readonly cutOff: string;
  /** What to do about it. */
  readonly next: string;
}

const words: Readonly<Record<ButtonState, Words>> = {
  'not-listening': {
    alive:
      'the guest does not listen to its power button: it is in firmware or booting, has nothing to boot, or has no driver for the button',
    cutOff:
      'it did not listen to its power button when that was pressed: it was in firmware or booting, had nothing to boot, or had no driver for the button',
    next: 'look at its console; if it was booting, allow a longer --timeout; else use the hook guest-shutdown with --agent, or one of your own',
  },
  'not-taken': {
    alive: 'the guest listens to its power button, and has not taken the press yet',
    cutOff: 'it listened to its power button, and did not take the press: its kernel hangs or ignores ACPI',
    next: 'look at its console',
  },
  taken: {
    alive: "the guest's kernel has taken the press of the power button",
    cutOff: 'its kernel took the press of the power button',
    next: 'if it is slow, allow a longer --timeout; if nothing comes of it, is systemd-logind or acpid running? does a policy ignore the button?',
  },
  'no-acpi': {
    alive: 'this machine has no ACPI, so the guest cannot hear a power button',
    cutOff: 'this machine has no ACPI, so it could not hear a power button',
    next: 'use the hook guest-shutdown with --agent, or one of your own',
  },
  unknown: {
    alive:
      'it is unknown whether the guest has heard its power button: this machine does not tell, or the press came too soon to be read',
    cutOff:
      'it is unknown whether it heard its power button: this machine does not tell, or the press came too soon to be read',
    next: 'if nothing comes of it, is systemd-logind or acpid running?',
  },
};

export const buttonStates = Object.keys(words) as readonly ButtonState[];

/** Of a guest that is still there. */
export function describeButton(state: ButtonState): string {
  return words[state].alive;
}

/** {@link describeButton}, with the next step. */
export function adviseOnButton(state: ButtonState): string {
  return `${words[state].alive}; ${words[state].next}`;
}

/** Of a guest that was cut off, with the next step. */
export function explainCutOff(state: ButtonState): string {
  return `${words[state].cutOff}; ${words[state].next}`;
}
