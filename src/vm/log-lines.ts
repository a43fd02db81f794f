import type { LogEvent } from '../log/log.js';
import { endCauses } from '../outcome/end-cause.js';
import { shownCommand } from '../qmp/monitor-command.js';
import { formatSeconds } from '../system/duration.js';
import type { Notice } from '../dispatch/messages.js';
import { type MonitorStage, commandLine } from '../rules/rule.js';

const nextStageReasons = {
  'hook-failed': 'its hook did not do its part',
  'hook-timeout': "its hook's time is up",
  'command-failed': 'its monitor command failed',
  'command-done': 'its monitor command is done, and the guest is still there',
  reserve: 'the hook has ended, and the guest is still there',
  'guest-reset': 'the guest has reset instead of powering off',
} as const;

const shownStage = (stage: MonitorStage): string => shownCommand(commandLine(stage));

/** The words for what the core tells. */
export function describeNotice(notice: Notice): LogEvent {
  const { event } = notice;
  switch (event) {
    case 'shutdown':
      return {
        event,
        level: 'info',
        facts: { signal: notice.signal, timeout_ms: notice.timeoutMs },
        message: `${notice.signal}: shutting down, at most ${formatSeconds(notice.timeoutMs)} until the default action${notice.waitsForMonitor ? '; waiting for QEMU to start' : ''}`,
      };
    case 'stands':
      return {
        event,
        level: 'info',
        facts: { signal: notice.signal, first: notice.first },
        message: `${notice.signal}: a shutdown on ${notice.first} is under way, and stands`,
      };
    case 'refused':
      return {
        event,
        level: 'warning',
        facts: { signal: notice.signal, first: notice.first },
        message: `${notice.signal}: refused while the shutdown on ${notice.first} is under way`,
      };
    case 'ignored':
      return {
        event,
        level: 'info',
        facts: { signal: notice.signal, times: notice.times },
        message: `${notice.signal}: ignored${notice.times > 1 ? ` ${notice.times} times more` : ''}, no rule says what to do`,
      };
    case 'coalesced':
      return {
        event,
        level: 'info',
        facts: { signal: notice.signal, times: notice.times },
        message: `${notice.signal} came ${notice.times} times more meanwhile: one run stood for all`,
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
        facts: { signal: notice.signal, ms: Math.round(notice.ms) },
        message: `${notice.signal}: qemu-trap stood still for ${formatSeconds(notice.ms)}: the deadline moves by that`,
      };
    case 'dropped':
      return {
        event,
        level: 'info',
        facts: { signal: notice.signal },
        message: `${notice.signal}: not now, says its hook (status 75): dropped, the guest runs on`,
      };
    case 'next-link':
      return {
        event,
        level: 'warning',
        facts: { signal: notice.signal, command: shownStage(notice.stage), because: notice.because },
        message: `${notice.signal}: ${nextStageReasons[notice.because]}: ${shownStage(notice.stage)} instead`,
      };
    case 'failed':
      return {
        event,
        level: 'warning',
        facts: { signal: notice.signal },
        message: `${notice.signal}: failed, with nothing left to try; the guest runs on`,
      };
    case 'command-timeout':
      return {
        event,
        level: 'warning',
        facts: { signal: notice.signal },
        message: `${notice.signal}: QEMU has not answered in time; the guest runs on`,
      };
    case 'default-action':
      return {
        event,
        level: endCauses[notice.cause].forced ? 'warning' : 'info',
        facts: { signal: notice.signal, action: notice.action, cause: notice.cause },
        message: `${notice.signal}: ${endCauses[notice.cause].words}: ${notice.action === 'quit' ? 'telling QEMU to quit' : 'ending QEMU with SIGKILL'}`,
      };
    case 'kill':
      return { event, level: 'warning', message: 'QEMU has not gone in time: ending it with SIGKILL' };
    case 'exit-hangs':
      return {
        event,
        level: 'warning',
        facts: { after_ms: notice.afterMs },
        message: `QEMU said that it exits, and has not for ${formatSeconds(notice.afterMs)}: ending it with SIGKILL`,
      };
    case 'abandoned':
      return { event, level: 'error', message: 'QEMU has not gone even on SIGKILL (the kernel holds it): leaving it' };
  }
}
