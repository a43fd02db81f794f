import type { LogEvent } from '../log/log.js';
import { endCauses } from '../outcome/end-cause.js';
import { shownCommand } from '../qmp/monitor-command.js';
import { wordSeconds } from '../system/duration.js';
import type { Telling } from '../dispatch/messages.js';

const nextLinkReasons = {
  'hook-failed': 'its hook did not do its part',
  'hook-timeout': "its hook's time is up",
  'command-failed': 'its monitor command failed',
  'command-done': 'its monitor command is done, and the guest is still there',
  reserve: 'the hook has ended, and the guest is still there',
  'guest-reset': 'the guest has reset instead of powering off',
} as const;

/** The words for what the core tells. */
export function wordTelling(telling: Telling): LogEvent {
  const { event } = telling;
  switch (event) {
    case 'shutdown':
      return {
        event,
        level: 'info',
        facts: { signal: telling.signal, timeout_ms: telling.timeoutMs },
        message: `${telling.signal}: shutting down, at most ${wordSeconds(telling.timeoutMs)} until the default action${telling.waitsForMonitor ? '; waiting for QEMU to start' : ''}`,
      };
    case 'stands':
      return {
        event,
        level: 'info',
        facts: { signal: telling.signal, first: telling.first },
        message: `${telling.signal}: a shutdown on ${telling.first} is under way, and stands`,
      };
    case 'refused':
      return {
        event,
        level: 'warning',
        facts: { signal: telling.signal, first: telling.first },
        message: `${telling.signal}: refused while the shutdown on ${telling.first} is under way`,
      };
    case 'ignored':
      return {
        event,
        level: 'info',
        facts: { signal: telling.signal, times: telling.times },
        message: `${telling.signal}: ignored${telling.times > 1 ? ` ${telling.times} times more` : ''}, no rule says what to do`,
      };
    case 'coalesced':
      return {
        event,
        level: 'info',
        facts: { signal: telling.signal, times: telling.times },
        message: `${telling.signal} came ${telling.times} times more meanwhile: one run stood for all`,
      };
    case 'again-to-force':
      return {
        event,
        level: 'info',
        message: 'waiting for the guest; Ctrl-C again after a second, or Ctrl-\\ at once, cuts it off',
      };
    case 'lost-time':
      return {
        event,
        level: 'warning',
        facts: { signal: telling.signal, ms: Math.round(telling.ms) },
        message: `${telling.signal}: qemu-trap stood still for ${wordSeconds(telling.ms)}: the deadline moves by that`,
      };
    case 'dropped':
      return {
        event,
        level: 'info',
        facts: { signal: telling.signal },
        message: `${telling.signal}: not now, says its hook (status 75): dropped, the guest runs on`,
      };
    case 'next-link':
      return {
        event,
        level: 'warning',
        facts: { signal: telling.signal, command: shownCommand(telling.command), because: telling.because },
        message: `${telling.signal}: ${nextLinkReasons[telling.because]}: ${shownCommand(telling.command)} instead`,
      };
    case 'failed':
      return {
        event,
        level: 'warning',
        facts: { signal: telling.signal },
        message: `${telling.signal}: failed, with nothing left to try; the guest runs on`,
      };
    case 'command-timeout':
      return {
        event,
        level: 'warning',
        facts: { signal: telling.signal },
        message: `${telling.signal}: QEMU has not answered in time; the guest runs on`,
      };
    case 'default-action':
      return {
        event,
        level: endCauses[telling.cause].forced ? 'warning' : 'info',
        facts: { signal: telling.signal, action: telling.action, cause: telling.cause },
        message: `${telling.signal}: ${endCauses[telling.cause].words}: ${telling.action === 'quit' ? 'telling QEMU to quit' : 'ending QEMU with SIGKILL'}`,
      };
    case 'kill':
      return { event, level: 'warning', message: 'QEMU has not gone in time: ending it with SIGKILL' };
    case 'exit-hangs':
      return {
        event,
        level: 'warning',
        facts: { after_ms: telling.afterMs },
        message: `QEMU said that it exits, and has not for ${wordSeconds(telling.afterMs)}: ending it with SIGKILL`,
      };
    case 'abandoned':
      return { event, level: 'error', message: 'QEMU has not gone even on SIGKILL (the kernel holds it): leaving it' };
  }
}
