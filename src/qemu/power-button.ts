import type { QmpClient } from '../qmp/client.js';
import type { CommandResult } from '../qmp/command-line.js';
import { MonitorClosed, QmpError } from '../qmp/messages.js';

/**
 * Run states in which the guest stands still and `cont` lets it go on (RunState of qapi/run-state.json of QEMU). The
 * last two last where `savevm` or `loadvm` has failed.
 */
const paused: readonly unknown[] = ['paused', 'io-error', 'watchdog', 'debug', 'save-vm', 'restore-vm'];

/** What is needed of a monitor here. */
export type Monitor = Pick<QmpClient, 'execute'>;

/** QEMU's run state. */
export async function queryGuest(client: Monitor): Promise<string> {
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
    const state = await queryGuest(client).catch((error: unknown) => {
      // It has gone already.
      if (error instanceof MonitorClosed) return 'running';
      throw error;
    });
    if (paused.includes(state)) await client.execute('cont');
    if (state === 'suspended') {
      await client.execute('system_wakeup');
      await client.execute('system_powerdown');
    }
    return { ok: true, output: state === 'running' ? '' : `the guest was ${state}` };
  } catch (error) {
    if (error instanceof QmpError) return { ok: false, output: error.desc };
    throw error;
  }
}
