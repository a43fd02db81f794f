import { readFileSync } from 'node:fs';
import { isatty } from 'node:tty';
import { spawnSync } from './spawn.js';

export const atTerminal = isatty(0);

/**
 * What controls us: our process group, the terminal, and the group in its foreground (/proc/self/stat of proc(5)).
 * @returns `null` if it cannot be read
 */
function readControl(): { readonly group: number; readonly terminal: number; readonly foreground: number } | null {
  try {
    const stat = readFileSync('/proc/self/stat', 'latin1');
    const [, , group, , terminal, foreground] = stat
      .slice(stat.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number);
    return group === undefined || terminal === undefined || foreground === undefined
      ? null
      : { group, terminal, foreground };
  } catch {
    return null;
  }
}

/**
 * Whether our controlling terminal has another group in its foreground. False if none controls us, or it cannot be read.
 * @param ifUnknown what is said if both groups are of another pid namespace, where each is 0. A terminal that is written
 *   to in vain costs more than one that is written to by way of another process.
 */
export function isInBackground(ifUnknown = true): boolean {
  const control = readControl();
  // A terminal without a foreground group has -1 in its place.
  if (control === null || control.terminal === 0 || control.foreground < 0) return false;
  const { group, foreground } = control;
  return foreground === 0 && group === 0 ? ifUnknown : foreground !== group;
}

/** Whether Ctrl-C may come: to the group in the foreground of its terminal, and to no other (termios(3), ISIG). */
export function hearsCtrlC(): boolean {
  if (!atTerminal) return false;
  const control = readControl();
  return control === null || (control.terminal !== 0 && control.foreground === control.group);
}

/** How long stty(1) may take: in the background of a terminal, SIGTTOU stops it instead of letting it change the modes. */
const sttyWithinMs = 1_000;

/**
 * Remembers the terminal's modes, which QEMU changes for `-serial stdio` and cannot set back after SIGKILL.
 * @returns what sets them back
 */
export function rememberTerminal(): () => void {
  if (!atTerminal) return () => undefined;
  const modes = spawnSync('stty', ['-g'], {
    stdio: ['inherit', 'pipe', 'ignore'],
    timeout: sttyWithinMs,
    killSignal: 'SIGKILL',
  }).stdout?.trim();
  if (!modes) return () => undefined;
  return () =>
    void spawnSync('stty', [modes], {
      stdio: ['inherit', 'ignore', 'ignore'],
      timeout: sttyWithinMs,
      killSignal: 'SIGKILL',
    });
}
