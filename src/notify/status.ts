import type { State } from '../dispatch.js';
import { endCauses } from '../outcome.js';

/** QEMU's run states in words, where QEMU's own do not say enough (RunState of qapi/run-state.json of QEMU). */
const guests: Readonly<Record<string, string>> = {
  'unknown': 'QEMU is starting',
  'running': 'running',
  'prelaunch': 'the guest is not started yet (-S)',
  'inmigrate': 'the guest is being loaded',
  'finish-migrate': 'the guest is being saved',
};

/**
 * What `systemctl status` is to show: how the VM is, in words for people.
 * @param now on the clock of the state, in milliseconds
 */
export function wordStatus({ stop, end, guest }: State, now: number): string {
  const left = (until: number): string => `${Math.max(0, Math.ceil((until - now) / 1000))} s left`;
  if (end !== null) {
    const because = endCauses[end.cause].words;
    return end.killed ? `${because}: QEMU is being ended by SIGKILL` : `${because}: QEMU is to quit, ${left(end.killAt)}`;
  }
  if (stop !== null) return `powering down on ${stop.rule.signal}, ${left(stop.deadline)}`;
  return guests[guest] ?? `the guest is ${guest}`;
}

/**
 * True from where a shutdown cannot be called off any more. Before that a hook may still say "not now" (status 75),
 * and a manager that was told STOPPING=1 would end the VM all the same.
 */
export function isUnderWay({ stop, end }: State): boolean {
  return end !== null || (stop !== null && (stop.powerdown || stop.link === 'command' || stop.link === 'wait'));
}
