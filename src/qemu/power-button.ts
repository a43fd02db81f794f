import type { QmpClient } from '../qmp/client.js';
import type { CommandResult } from '../qmp/monitor-command.js';
import { goesOnBy, isRunning, unknownRunState } from '../outcome/run-state.js';
import { QmpError, textOf } from '../qmp/messages.js';

/** What is needed of a monitor here. */
export type Monitor = Pick<QmpClient, 'execute'>;

/** QEMU's run state. */
export async function queryRunState(client: Monitor): Promise<string> {
  const answer = (await client.execute('query-status')) as { readonly status?: unknown } | null;
  return textOf(answer?.status, unknownRunState);
}

/**
 * Presses the ACPI power button, and sees to it that the guest can hear: a paused guest is resumed, because it honours
 * the press after `cont`; a suspended one is woken first, because a press is forgotten while it wakes.
 * @param runs the guest is known to run: then the press is all that is said, for QEMU may exit right after it
 * @throws {MonitorClosed} if QEMU has exited before it answered
 */
export async function pressPowerButton(client: Monitor, runs: boolean): Promise<CommandResult> {
  return reported(async () => {
    const state = runs ? null : await queryRunState(client);
    const command = state === null ? null : goesOnBy(state);
    if (command === 'system_wakeup') await client.execute(command);
    await client.execute('system_powerdown');
    if (command === 'cont') await client.execute(command);
    return state === null || isRunning(state) ? '' : `the guest was ${state}`;
  });
}

/**
 * Lets a guest go on whose button was pressed while it stood still, or that was made to stand still since.
 * @throws {MonitorClosed} if QEMU has exited before it answered
 */
export async function letGoOn(client: Monitor): Promise<CommandResult> {
  return reported(async () => {
    const state = await queryRunState(client);
    const command = goesOnBy(state);
    if (command !== null) await client.execute(command);
    // Paused, it still has its press; what was pressed in its sleep is forgotten as it wakes.
    if (command === 'system_wakeup') await client.execute('system_powerdown');
    return command === null ? '' : `the guest was ${state}`;
  });
}

/** How it went, in the shape that a user's own command has. */
async function reported(what: () => Promise<string>): Promise<CommandResult> {
  try {
    return { ok: true, output: await what(), isGuess: false };
  } catch (error) {
    if (error instanceof QmpError) return { ok: false, output: error.desc, isGuess: false };
    throw error;
  }
}
