import type { LogEvent } from '../log/log.js';
import { describeCause, endCauses } from '../outcome/end-cause.js';
import { describeButton } from '../outcome/button-words.js';
import { describeWriting, isQuiet } from '../outcome/disk-activity.js';
import { shownCommand } from '../qmp/monitor-command.js';
import { formatSeconds, timeoutFacts } from '../system/duration.js';
import type { Notice } from '../dispatch/messages.js';
import { type MonitorStage, commandLine } from '../rules/rule.js';

const nextStageReasons = {
  'hook-failed': 'the hook failed',
  'hook-timeout': 'the hook did not finish in time',
  'command-failed': 'the monitor command failed',
  'command-done': 'the monitor command succeeded, but the guest is still running',
  'little-time': 'little time is left',
  reserve: 'the hook has exited, but the guest is still running',
  'guest-reset': 'the guest reset instead of powering off',
} as const;

const shownStage = (stage: MonitorStage): string => shownCommand(commandLine(stage));

function describeNextStage({ because, stage }: Notice & { readonly event: 'next-link' }): string {
  const action = stage.kind === 'power-button' ? 'pressing the power button' : `running ${shownStage(stage)}`;
  const isInstead = because === 'hook-failed' || because === 'hook-timeout' || because === 'command-failed';
  return `${nextStageReasons[because]}; ${action}${isInstead ? ' instead' : ''}`;
}

function describeAction({ cause, action, signal }: Notice & { readonly event: 'default-action' }): string {
  const doing = action === 'quit' ? 'telling QEMU to quit' : 'killing QEMU with SIGKILL';
  return cause === 'asked' ? `${doing}, ${describeCause(cause, signal)}` : `${describeCause(cause, signal)}; ${doing}`;
}

function describeDeadline({ timeoutMs, busyMs, defaultAction }: Notice & { readonly event: 'shutdown' }): string {
  if (timeoutMs === Infinity) return 'QEMU is left running until the guest has shut down; SIGQUIT forces it';
  const later = busyMs === undefined ? '' : `, or ${formatSeconds(busyMs)} while the guest writes to its disks`;
  return `QEMU is ${defaultAction === 'kill' ? 'killed' : 'told to quit'} in ${formatSeconds(timeoutMs)}${later}`;
}

/** The words for what the core tells. */
export function describeNotice(notice: Notice): LogEvent {
  const { event } = notice;
  switch (event) {
    case 'shutdown':
      return {
        event,
        level: 'info',
        facts: {
          signal: notice.signal,
          ...timeoutFacts(notice.timeoutMs),
          ...(notice.busyMs !== undefined && { busy_timeout_ms: notice.busyMs }),
        },
        message: `${notice.signal}: shutting down; ${describeDeadline(notice)}${notice.waitsForMonitor ? '; waiting for QEMU to start' : ''}`,
      };
    case 'stands':
      return {
        event,
        level: 'info',
        facts: { signal: notice.signal, first: notice.first },
        message: `${notice.signal} ignored: already shutting down on ${notice.first}`,
      };
    case 'refused':
      return {
        event,
        level: 'warning',
        facts: { signal: notice.signal, first: notice.first },
        message: `${notice.signal} refused: already shutting down on ${notice.first}`,
      };
    case 'ignored':
      return {
        event,
        level: 'info',
        facts: { signal: notice.signal, times: notice.times },
        message: `${notice.signal} ignored${notice.times > 1 ? ` ${notice.times} more times` : ''}: it has no hook and no command`,
      };
    case 'coalesced':
      return {
        event,
        level: 'info',
        facts: { signal: notice.signal, times: notice.times },
        message: `${notice.signal} received ${notice.times} more ${notice.times === 1 ? 'time' : 'times'}; already being handled`,
      };
    case 'again-to-force':
      return {
        event,
        level: 'info',
        message:
          'waiting for the guest to shut down; to cut it off, press Ctrl-C again after a second, or Ctrl-\\ at once',
      };
    case 'lost-time':
      return {
        event,
        level: 'warning',
        facts: {
          signal: notice.signal,
          ms: Math.round(notice.ms),
          suspended_ms: Math.round(notice.suspendedMs),
        },
        message: `${notice.signal}: qemu-trap was suspended for ${formatSeconds(notice.suspendedMs)}; the deadline is extended by ${notice.ms === notice.suspendedMs ? 'as much' : formatSeconds(notice.ms)}`,
      };
    case 'more-time':
      return {
        event,
        level: 'warning',
        facts: {
          signal: notice.signal,
          bytes_per_second: Math.round(notice.bytesPerSecond),
          busy_timeout_ms: Math.round(notice.busyMs),
        },
        message: `${notice.signal}: the deadline has passed, but the guest ${isQuiet(notice) ? '' : 'is '}${describeWriting(notice)}; it gets more time for as long as it writes, at most until ${formatSeconds(notice.busyMs)} after the signal`,
      };
    case 'dropped':
      return {
        event,
        level: 'info',
        facts: { signal: notice.signal },
        message: `${notice.signal} dropped: the hook said "not now" (status 75); the VM stays as it is`,
      };
    case 'too-late':
      return {
        event,
        level: 'warning',
        facts: { signal: notice.signal },
        message: `${notice.signal}: the hook said "not now" (status 75) after the power button was pressed; the shutdown continues`,
      };
    case 'next-link':
      return {
        event,
        level: 'warning',
        facts: { signal: notice.signal, command: shownStage(notice.stage), because: notice.because },
        message: `${notice.signal}: ${describeNextStage(notice)}`,
      };
    case 'button':
      return {
        event,
        level: notice.state === 'no-acpi' ? 'warning' : 'info',
        facts: { signal: notice.signal, button: notice.state },
        message: `${notice.signal}: ${describeButton(notice.state)}`,
      };
    case 'listening':
      return {
        event,
        level: 'info',
        facts: { signal: notice.signal },
        message: `${notice.signal}: the guest listens to its power button now; pressing it`,
      };
    case 'failed':
      return {
        event,
        level: 'warning',
        facts: { signal: notice.signal },
        message: `${notice.signal}: the hook or command failed, and nothing else is configured; the guest keeps running`,
      };
    case 'command-timeout':
      return {
        event,
        level: 'warning',
        facts: { signal: notice.signal },
        message: `${notice.signal}: QEMU did not answer in time; the guest keeps running`,
      };
    case 'default-action':
      return {
        event,
        level: endCauses[notice.cause].forced ? 'warning' : 'info',
        facts: { signal: notice.signal, action: notice.action, cause: notice.cause },
        message: `${notice.signal}: ${describeAction(notice)}`,
      };
    case 'kill':
      return { event, level: 'warning', message: 'QEMU did not exit in time; killing it with SIGKILL' };
    case 'exit-hangs':
      return {
        event,
        level: 'warning',
        facts: { after_ms: notice.afterMs },
        message: `QEMU announced its exit ${formatSeconds(notice.afterMs)} ago and is still running; killing it with SIGKILL`,
      };
    case 'abandoned':
      return {
        event,
        level: 'error',
        message: 'QEMU is still there after SIGKILL (the kernel is holding it); qemu-trap stops waiting for it',
      };
  }
}
