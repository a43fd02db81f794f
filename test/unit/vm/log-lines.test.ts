import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Notice } from '../../../src/dispatch/messages.js';
import { describeNotice } from '../../../src/vm/log-lines.js';

const lines: readonly [notice: Notice, message: string][] = [
  [
    { event: 'shutdown', signal: 'SIGTERM', timeoutMs: 60_000, defaultAction: 'quit', waitsForMonitor: false },
    'SIGTERM: shutting down; QEMU is told to quit in 60 s',
  ],
  [
    { event: 'shutdown', signal: 'SIGTERM', timeoutMs: 60_000, defaultAction: 'kill', waitsForMonitor: true },
    'SIGTERM: shutting down; QEMU is killed in 60 s; waiting for QEMU to start',
  ],
  [
    { event: 'shutdown', signal: 'SIGTERM', timeoutMs: Infinity, defaultAction: 'kill', waitsForMonitor: false },
    'SIGTERM: shutting down; QEMU is left running until the guest has shut down; SIGQUIT forces it',
  ],
  [
    {
      event: 'shutdown',
      signal: 'SIGTERM',
      timeoutMs: 60_000,
      defaultAction: 'quit',
      waitsForMonitor: false,
      busyMs: 600_000,
    },
    'SIGTERM: shutting down; QEMU is told to quit in 60 s, or 600 s while the guest writes to its disks',
  ],
  [
    { event: 'more-time', signal: 'SIGTERM', bytesPerSecond: 0, quietMs: 9_100, busyMs: 600_000 },
    'SIGTERM: the deadline has passed, but the guest last wrote 9 s ago; it gets more time for as long as it writes, at most until 600 s after the signal',
  ],
  [
    { event: 'default-action', signal: 'SIGTERM', action: 'quit', cause: 'quiet-deadline' },
    'SIGTERM: the deadline had passed, and the guest had written nothing for 15 s; telling QEMU to quit',
  ],
  [
    { event: 'more-time', signal: 'SIGTERM', bytesPerSecond: 3_200_000, quietMs: 0, busyMs: 600_000 },
    'SIGTERM: the deadline has passed, but the guest is still writing, 3.2 MB/s; it gets more time for as long as it writes, at most until 600 s after the signal',
  ],
  [
    { event: 'default-action', signal: 'SIGTERM', action: 'quit', cause: 'busy-deadline' },
    'SIGTERM: the guest was still writing when --busy-timeout was over; telling QEMU to quit',
  ],
  [{ event: 'stands', signal: 'SIGINT', first: 'SIGTERM' }, 'SIGINT ignored: already shutting down on SIGTERM'],
  [{ event: 'coalesced', signal: 'SIGHUP', times: 3 }, 'SIGHUP received 3 more times; already being handled'],
  [{ event: 'coalesced', signal: 'SIGHUP', times: 1 }, 'SIGHUP received 1 more time; already being handled'],
  [
    { event: 'next-link', signal: 'SIGTERM', stage: { kind: 'power-button' }, because: 'hook-failed' },
    'SIGTERM: the hook failed; pressing the power button instead',
  ],
  [
    { event: 'next-link', signal: 'SIGTERM', stage: { kind: 'power-button' }, because: 'command-done' },
    'SIGTERM: the monitor command succeeded, but the guest is still running; pressing the power button',
  ],
  [
    {
      event: 'next-link',
      signal: 'SIGHUP',
      stage: { kind: 'command', line: 'set_password vnc secret' },
      because: 'hook-failed',
    },
    'SIGHUP: the hook failed; running set_password ... instead',
  ],
  [
    { event: 'default-action', signal: 'SIGTERM', action: 'kill', cause: 'deadline' },
    'SIGTERM: the deadline passed; killing QEMU with SIGKILL',
  ],
  [
    { event: 'default-action', signal: 'SIGQUIT', action: 'quit', cause: 'asked' },
    'SIGQUIT: telling QEMU to quit, as SIGQUIT asks',
  ],
];

test('what the log says of a shutdown', () => {
  for (const [notice, message] of lines) assert.equal(describeNotice(notice).message, message);
});
