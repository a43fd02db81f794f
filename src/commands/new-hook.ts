import { chmodSync, closeSync, fchmodSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { findLifecycleHook, findForSignal, type HookDirs } from '../hook/find.js';
import { createParents } from '../system/make-directories.js';
import { findWayFault, shellQuote } from '../system/permissions.js';
import { type SignalName, parseSignal } from '../signals/names.js';
import { UsageError } from '../system/usage-error.js';
import { builtinRule } from '../rules/builtin.js';

const contract = `# qemu-trap runs it as itself. File descriptor 3 is a socket to QEMU's QMP monitor, on which the command qmp speaks
# (qmp query-status). What this script writes goes to qemu-trap's log. The environment has QEMU_TRAP_VM, the VM's name,
# and more: man qemu-trap-hooks.`;

function shutdownStarter(signal: SignalName): string {
  return `#!/bin/sh
# ${signal} - shut the guest down, with what has to be done before
#
${contract}
#
# It has QEMU_TRAP_TIMEOUT seconds. Where it fails, hangs or does nothing, qemu-trap presses the power button itself; at
# the end of its time QEMU is told to quit. Exit status: 0, it did its part; 75, not now, and the VM runs on; any other,
# it failed.

echo "$QEMU_TRAP_VM: $1, $QEMU_TRAP_TIMEOUT seconds left"

# While the guest still runs:
# ssh -o BatchMode=yes -o ConnectTimeout=5 "root@$QEMU_TRAP_VM" systemctl stop myapp

# The power button. One press is enough: from then on qemu-trap presses it again until the guest shuts down, because
# firmware drops a press. It lets a paused guest go on, and wakes one that sleeps.
exec "$QEMU_TRAP_BUNDLED/powerdown" "$1"
`;
}

function otherStarter(signal: SignalName): string {
  // It means: now, and never mind the guest. So a hook for it has to end QEMU as well.
  const isQuit = signal === 'SIGQUIT';
  return `#!/bin/sh
# ${signal} - ${isQuit ? 'what is done before QEMU quits, with its guest cut off' : 'what the VM does on this signal; its guest runs on'}
#
${contract}
#
# It has QEMU_TRAP_TIMEOUT seconds. Exit status: 0, it did its part; 75, not now; any other, it failed.

echo "$QEMU_TRAP_VM: $1"
qmp query-status

# Such as:
# qmp human-monitor-command '{"command-line":"info block"}'
${isQuit ? '\nqmp quit || exit 0' : '# qmp system_reset                                     the reset button\n# qmp stop                                             pause; qmp cont lets the guest go on'}
`;
}

const startStarter = `#!/bin/sh
# start - runs before QEMU does, and may keep it from being started
#
# qemu-trap runs it as itself, with 30 seconds. There is no QEMU yet, and no monitor. What this script writes goes to
# qemu-trap's log. Where it fails, QEMU is not started; what it leaves running is ended. man qemu-trap-hooks says what the
# environment has.

echo "$QEMU_TRAP_VM is about to start"

# Such as:
# mountpoint -q /srv/vm || exit 1
`;

const endStarter = `#!/bin/sh
# end - runs when QEMU has gone, and is told how
#
# qemu-trap runs it as itself, with 10 seconds. There is no monitor any more. QEMU_TRAP_END is guest-shutdown,
# guest-reset, panic, watchdog, saved, migrated, quit, kill, crash or start-failed; man qemu-trap-hooks says what else
# the environment has.

if [ "$QEMU_TRAP_CUT_OFF" = yes ]; then
    echo "$QEMU_TRAP_VM was cut off: $QEMU_TRAP_MESSAGE"
    # logger -p daemon.err "$QEMU_TRAP_VM was cut off: $QEMU_TRAP_MESSAGE"
fi
`;

/** A commented hook to begin with, and the name it is for. */
function starterFor(
  asked: string,
  dirs: HookDirs,
): { readonly name: string; readonly text: string; readonly there: string | undefined } {
  if (asked === 'start' || asked === 'end') {
    return {
      name: asked,
      text: asked === 'start' ? startStarter : endStarter,
      there: findLifecycleHook(asked, dirs)[0]?.path,
    };
  }
  const parsed = parseSignal(asked);
  if ('error' in parsed) throw new UsageError(`--new-hook ${asked}: ${parsed.error}, or write start or end`);
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
  const fault = findWayFault(directory);
  if (fault !== null)
    throw new UsageError(
      `--new-hook ${asked}: hooks directory ${directory}: ${fault.what} (mend it: ${fault.mend}, or name another with --hooks)`,
    );
}

/**
 * Writes a starter into the hooks directory, which is made where it is not there.
 * @param asked a signal, `start` or `end`
 * @returns what to do next
 * @throws {UsageError} where there is one already, or it cannot be written
 */
export function newHook(asked: string, directory: string): string {
  const { name, text, there } = starterFor(asked, { user: directory, bundled: directory });
  if (there !== undefined)
    throw new UsageError(`--new-hook ${asked}: ${there} is there already: edit that one, or move it away`);
  const path = join(directory, name);
  refuseOthersDirectory(asked, directory);
  try {
    // Whatever the umask leaves of it: a service of another user is to read it.
    createParents(path, 0o755, (made) => chmodSync(made, 0o755));
    // It may have been made by somebody else meanwhile.
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
    throw new UsageError(
      `--new-hook ${asked}: ${path} cannot be written (${(error as NodeJS.ErrnoException).code}): run it as root, or name a directory of your own with --hooks`,
    );
  }
  const hooks = `--hooks ${shellQuote(directory)}`;
  const next = [`${path} is written: edit it, then`, `  qemu-trap --check ${hooks}`];
  if (name !== 'start' && name !== 'end') next.push(`  qemu-trap --try ${name} ${hooks}`);
  return `${next.join('\n')}\n`;
}
