import type { QmpClient } from '../qmp/client.js';
import type { CommandResult } from '../qmp/command-line.js';
import { goesOnBy, isRunning } from '../outcome/run-state.js';
import { MonitorClosed, QmpError } from '../qmp/messages.js';

/** What is needed of a monitor here. */
export type Monitor = Pick<QmpClient, 'execute'>;

/** QEMU's run state. */
export async function queryRunState(client: Monitor): Promise<string> {
  const answer = (await client.execute('query-status')) as { status?: unknown };
  return String(answer.status);
}

/**
 * Presses the ACPI power button, and sees to it that the guest can hear: a paused guest is resumed, for it honours
 * the press after `cont`; a suspended one is woken, and pressed again.
 * @throws {MonitorClosed} where QEMU has gone before it answered
 */
export async function pressPowerButton(client: Monitor): Promise<CommandResult> {
  try {
    // One after the other: QEMU would serve a second command before it presses the button.
    await client.execute('system_powerdown');
    const state = await queryRunState(client).catch((error: unknown) => {
      // It has gone already.
      if (error instanceof MonitorClosed) return null;
      throw error;
    });
    if (state === null || isRunning(state)) return { ok: true, output: '', isGuess: false };
    const command = goesOnBy(state);
    if (command !== null) await client.execute(command);
    // A press is forgotten while a guest wakes.
    if (command === 'system_wakeup') await client.execute('system_powerdown');
    return { ok: true, output: `the guest was ${state}`, isGuess: false };
  } catch (error) {
    if (error instanceof QmpError) return { ok: false, output: error.desc, isGuess: false };
    throw error;
  }
}
