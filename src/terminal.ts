import { isatty } from 'node:tty';
import spawn from 'cross-spawn';

export const atTerminal = isatty(0);

/**
 * Remembers the terminal's modes, which QEMU changes for `-serial stdio` and cannot set back after SIGKILL.
 * @returns what sets them back
 */
export function rememberTerminal(): () => void {
  if (!atTerminal) return () => undefined;
  const modes = spawn.sync('stty', ['-g'], { stdio: ['inherit', 'pipe', 'ignore'], encoding: 'utf8' }).stdout?.trim();
  if (!modes) return () => undefined;
  return () => void spawn.sync('stty', [modes], { stdio: ['inherit', 'ignore', 'ignore'] });
}
