import { chmodSync, closeSync, fchmodSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { knownEvents } from '../hook/event-names.js';
import {
  findEventHook,
  findForSignal,
  findLifecycleHook,
  type HookDirs,
  type LifecycleHook,
  lifecycleHooks,
} from '../hook/find.js';
import { unknownHook } from './unknown-hook.js';
import { isDirectory, isThere } from '../system/is-there.js';
import { createParents } from '../system/make-directories.js';
import { findWayFault, shellQuote } from '../system/permissions.js';
import { type SignalName, parseSignal } from '../signals/names.js';
import { UsageError } from '../system/usage-error.js';
import { builtinRule } from '../rules/builtin.js';

const contract = `# qemu-trap runs this script as its own user. File descriptor 3 is a socket to QEMU's QMP monitor; the command qmp
# uses it (qmp query-status). The output of this script goes to qemu-trap's log. The environment has QEMU_TRAP_VM, the
# VM's name, and more: see man qemu-trap-hooks, or docs/hooks.md.`;

function shutdownStarter(signal: SignalName): string {
  return `#!/bin/sh
# ${signal} - shut the guest down, after what has to be done first
#
${contract}
#
# It has QEMU_TRAP_TIMEOUT seconds. If it fails, hangs or does nothing, qemu-trap presses the power button itself. When
# the time is up, qemu-trap tells QEMU to quit. Exit status: 0, success; 75, not now, and the VM keeps running; anything
# else, failure.

echo "$QEMU_TRAP_VM: $1, $QEMU_TRAP_TIMEOUT seconds left"

# While the guest is still running:
# ssh -o BatchMode=yes -o ConnectTimeout=5 "root@$QEMU_TRAP_VM" systemctl stop myapp

# The power button. One press is enough: qemu-trap then presses it again until the guest shuts down, because firmware
# may ignore a press. qemu-trap also resumes a paused guest, and wakes one that sleeps.
exec "$QEMU_TRAP_BUNDLED/powerdown" "$1"
`;
}

function otherStarter(signal: SignalName): string {
  // It means: now, and never mind the guest. So a hook for it has to end QEMU as well.
  const isQuit = signal === 'SIGQUIT';
  return `#!/bin/sh
# ${signal} - ${isQuit ? 'what to do before QEMU quits and the guest is cut off' : 'what to do on this signal; the guest keeps running'}
#
${contract}
#
# It has QEMU_TRAP_TIMEOUT seconds. Exit status: 0, success; 75, not now; anything else, failure.

echo "$QEMU_TRAP_VM: $1"
qmp query-status

# Such as:
# qmp human-monitor-command '{"command-line":"info block"}'
${isQuit ? '\nqmp quit || exit 0' : '# qmp system_reset                                     the reset button\n# qmp stop                                             pause; qmp cont resumes the guest'}
`;
}

const startStarter = `#!/bin/sh
# start - runs before QEMU, and can prevent its start
#
# qemu-trap runs this script as its own user, for 30 seconds at most. There is no QEMU yet, and no monitor. The output of
# this script goes to qemu-trap's log. If it fails, qemu-trap does not start QEMU. qemu-trap kills the processes that it
# leaves running. See man qemu-trap-hooks for the environment.

echo "$QEMU_TRAP_VM is about to start"

# Such as:
# mountpoint -q /srv/vm || exit 1
`;

const endStarter = `#!/bin/sh
# end - runs after QEMU has exited, and is told how
#
# qemu-trap runs this script as its own user, for 10 seconds at most. There is no monitor any more. QEMU_TRAP_END is
# guest-shutdown, guest-reset, panic, watchdog, saved, migrated, quit, kill, crash or start-failed. See
# man qemu-trap-hooks for the rest of the environment.

if [ "$QEMU_TRAP_CUT_OFF" = yes ]; then
    echo "$QEMU_TRAP_VM was cut off: $QEMU_TRAP_MESSAGE"
    # logger -p daemon.err "$QEMU_TRAP_VM was cut off: $QEMU_TRAP_MESSAGE"
fi
`;

const readyStarter = `#!/bin/sh
# ready - runs when the guest's processors first run, or when qemu-trap has taken over a guest that runs
#
${contract}
#
# It has 30 seconds. The service manager is told that the VM is ready when it has exited. If it fails, that is a warning.

echo "$QEMU_TRAP_VM runs"

# Its system has still to boot. With the guest agent (--agent) you can wait for that:
# until qga guest-ping; do sleep 1; done
`;

/** What an event says, and what people do then. */
const eventExamples: Readonly<Record<string, { readonly about: string; readonly lines?: string }>> = {
  GUEST_PANICKED: {
    about: "runs when the guest's kernel has panicked",
    lines: `# logger -p daemon.err "$QEMU_TRAP_VM: the guest panicked"

# QEMU knows of it by -device pvpanic. By default it exits, and there is no monitor. With -action panic=pause the guest
# stands still: you can look at it, and restart it:
# [ -n "\${QMP_FD-}" ] || exit 0
# while state=$(qmp query-status); do case $state in *guest-panicked*) break ;; esac; sleep 0.1; done
# qmp dump-guest-memory "{\\"paging\\":false,\\"detach\\":true,\\"protocol\\":\\"file:/var/tmp/$QEMU_TRAP_VM.$(date +%s)\\"}"
# A dump takes its time: the hook DUMP_COMPLETED (qemu-trap --new-hook DUMP_COMPLETED) can restart the guest after it.`,
  },
  DUMP_COMPLETED: {
    about: "runs when a dump of the guest's memory is done",
    lines: '# qmp system_reset && qmp cont',
  },
  BLOCK_IO_ERROR: {
    about: 'runs when QEMU could not read or write a disk',
    lines: `# On a full disk QEMU stops the guest (werror=enospc, its default, or werror=stop). It stays stopped until qmp cont.
# While the disk is full it stops again at its next write, and this runs again, once a second at most:
# [ -n "\${QMP_FD-}" ] || exit 0
# sleep 10
# case $(qmp query-status) in *io-error*) qmp cont ;; esac`,
  },
  WATCHDOG: {
    about: "runs when the guest's watchdog has expired",
    lines: '# logger -p daemon.err "$QEMU_TRAP_VM: the watchdog has expired"',
  },
  RESET: { about: 'runs after any reset of the guest; up to three times for one reset' },
  STOP: { about: "runs when the guest's processors have been stopped, for example by a pause" },
  RESUME: { about: "runs when the guest's processors run again" },
  SHUTDOWN: { about: 'runs when the guest has powered off, or QEMU was told to quit' },
};

function eventStarter(name: string): string {
  const { about, lines }: (typeof eventExamples)[string] = eventExamples[name] ?? {
    about: 'runs when QEMU says that this has happened',
  };
  return `#!/bin/sh
# ${name} - ${about}
#
${contract}
#
# It has 30 seconds, or 10 if QEMU exits. Its stdin is the event, one line of JSON. Hooks of events run one at a time: if
# the event came several times in the meantime, this is the latest one, and QEMU_TRAP_COUNT says how often it came. If
# QEMU has exited, there is no file descriptor 3, and QMP_FD is not set. A failure is only logged.

read -r event
echo "$QEMU_TRAP_VM: $1, $QEMU_TRAP_COUNT times: $event"

${lines ?? '# Such as:\n# [ -z "${QMP_FD-}" ] || qmp query-status'}
`;
}

const lifecycleStarters: Readonly<Record<LifecycleHook, string>> = {
  start: startStarter,
  ready: readyStarter,
  end: endStarter,
};

/** A commented hook to begin with, and the name it is for. */
function starterFor(
  asked: string,
  dirs: HookDirs,
): { readonly name: string; readonly text: string; readonly there: string | undefined } {
  const which = lifecycleHooks.find((each) => each === asked);
  if (which !== undefined)
    return { name: which, text: lifecycleStarters[which], there: findLifecycleHook(which, dirs)[0]?.path };
  if (knownEvents.includes(asked))
    return { name: asked, text: eventStarter(asked), there: findEventHook(asked, dirs)[0]?.path };
  const parsed = parseSignal(asked);
  if ('error' in parsed) throw unknownHook('--new-hook', asked);
  const { signal } = parsed;
  const ends = builtinRule(signal).monitorCommand !== null;
  return {
    name: signal,
    text: (ends ? shutdownStarter : otherStarter)(signal),
    there: findForSignal(signal, dirs)[0]?.path,
  };
}

/** @throws {UsageError} if another user could put their own in the place of what is written there */
function refuseOthersDirectory(asked: string, directory: string): void {
  if (isThere(directory) && !isDirectory(directory))
    throw new UsageError(`--new-hook ${asked}: ${directory} is no directory: name another with --hooks`);
  const fault = findWayFault(directory);
  if (fault !== null)
    throw new UsageError(
      `--new-hook ${asked}: hooks directory ${directory}: ${fault.what} (fix: ${fault.fix}, or name another with --hooks)`,
    );
}

/**
 * Writes a starter into the hooks directory, which is created if needed.
 * @param asked a signal, an event of QEMU's, `start`, `ready` or `end`
 * @returns what to do next
 * @throws {UsageError} if there is one already, or it cannot be written
 */
export function newHook(asked: string, directory: string): string {
  const { name, text, there } = starterFor(asked, { user: directory, bundled: directory });
  if (there !== undefined)
    throw new UsageError(`--new-hook ${asked}: ${there} exists already: edit it, or move it away`);
  const path = join(directory, name);
  refuseOthersDirectory(asked, directory);
  try {
    // Whatever the umask leaves of it: a service of another user is to read it.
    createParents(path, 0o755, (made) => chmodSync(made, 0o755));
    // Another process may have made it meanwhile.
    refuseOthersDirectory(asked, directory);
    const fd = openSync(path, 'wx', 0o755);
    try {
      writeSync(fd, text);
      fchmodSync(fd, 0o755);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (error instanceof UsageError) throw error;
    const { code = '' } = error as NodeJS.ErrnoException;
    const asRoot = ['EACCES', 'EPERM'].includes(code) ? 'run it as root, or ' : '';
    throw new UsageError(
      `--new-hook ${asked}: ${path} cannot be written (${code}): ${asRoot}name a directory of your own with --hooks`,
    );
  }
  const hooks = `--hooks ${shellQuote(directory)}`;
  return [
    `wrote ${path}: edit it, then run`,
    `  qemu-trap --check ${hooks}`,
    `  qemu-trap --try ${name} ${hooks}`,
    '',
  ].join('\n');
}
