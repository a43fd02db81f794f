import { isatty } from 'node:tty';
import { spawnSync } from './system/spawn.js';

export const atTerminal = isatty(0);

/** How long stty(1) may take: in the background of a terminal, SIGTTOU stops it instead of letting it change the modes. */
const sttyWithinMs = 1_000;

/**
 * Remembers the terminal's modes, which QEMU changes for `-serial stdio` and cannot set back after SIGKILL.
 * @returns what sets them back
 */
export function rememberTerminal(): () => void {
  if (!atTerminal) return () => undefined;
  const modes = spawnSync('stty', ['-g'], { stdio: ['inherit', 'pipe', 'ignore'], timeout: sttyWithinMs, killSignal: 'SIGKILL' }).stdout?.trim();
  if (!modes) return () => undefined;
  return () => void spawnSync('stty', [modes], { stdio: ['inherit', 'ignore', 'ignore'], timeout: sttyWithinMs, killSignal: 'SIGKILL' });
}
