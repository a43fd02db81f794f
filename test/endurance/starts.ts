import { readdirSync } from 'node:fs';
import { numberedGroups } from '../../src/system/control-group.js';
import { execute, type Lab, read, type Trap, until, withLab } from '../support/lab.js';
import { type Complaint, Count, formatComplaints, inLanes, judgeLife, leftovers, watchEnd, within } from './life.js';

/*
 * Starts and stops, one mode after the other, with nothing in their way: all ends well, and nothing is left behind.
 */

const endsWithinMs = 30_000;
const times = ['--timeout', '20', '--kill-after', '5'];

type More = NonNullable<Parameters<Lab['start']>[0]>;

async function up(lab: Lab, more: More = {}): Promise<Trap> {
  const trap = lab.start({ ...more, options: ['--hooks', lab.hooks, ...times, ...(more.options ?? [])] });
  await trap.ready();
  await lab.guestSaid('up');
  return trap;
}

/** The next qemu-trap has the guest of the one before, as `event` says. */
async function goOn(lab: Lab, options: readonly string[], event: string): Promise<Trap> {
  const trap = lab.start({ options: [...times, ...options] });
  await trap.event(event);
  await trap.ready();
  return trap;
}

/** The last qemu-trap of each, with its guest up, and the signal that it is to end on. */
const modes: Readonly<Record<string, (lab: Lab) => Promise<{ readonly trap: Trap; readonly signal: NodeJS.Signals }>>> =
  {
    'the bundled hook': async (lab) => ({ trap: await up(lab), signal: 'SIGTERM' }),
    'the button in process': async (lab) => ({
      trap: await up(lab, { options: ['--signal', 'INT,monitorcommand=system_powerdown'] }),
      signal: 'SIGINT',
    }),
    'hooks that leave processes': async (lab) => {
      for (const name of ['start', 'ready', 'end', 'SIGHUP'])
        lab.hook(name, `#!/bin/sh\nsetsid sleep 600 &\n[ "$1" != SIGHUP ] || exec qmp system_powerdown\n`);
      return { trap: await up(lab), signal: 'SIGHUP' };
    },
    SIGQUIT: async (lab) => ({ trap: await up(lab), signal: 'SIGQUIT' }),
    'a reset before it': async (lab) => {
      const trap = await up(lab);
      await execute(lab, 'system_reset');
      await lab.guestSaid('up', 2);
      return { trap, signal: 'SIGPWR' };
    },
    'saved, and resumed': async (lab) => {
      const options = ['--signal', 'USR2,script=save'];
      const first = await up(lab, { options });
      first.kill('SIGUSR2');
      await first.status();
      return { trap: await goOn(lab, options, 'resumed'), signal: 'SIGTERM' };
    },
    'killed, and taken over': async (lab) => {
      const options = ['--on-death', 'keep'];
      const first = await up(lab, { options });
      await first.die();
      return { trap: await goOn(lab, options, 'takeover'), signal: 'SIGTERM' };
    },
    'killed with its QEMU, and started anew': async (lab) => {
      const first = await up(lab);
      await first.die();
      await until('QEMU has gone with it', () => lab.left().length === 0);
      return { trap: await up(lab), signal: 'SIGTERM' };
    },
    attached: async (lab) => {
      lab.spawn([...lab.guest(), '-qmp', `unix:${lab.file('qmp')},server=on,wait=off`], { stdio: 'ignore' });
      await lab.guestSaid('up');
      const trap = lab.start({ command: [], options: [...times, '--attach', lab.file('qmp')] });
      await trap.ready();
      return { trap, signal: 'SIGTERM' };
    },
    'a wrapper in front of QEMU': async (lab) => ({
      trap: await up(lab, { command: ['sh', '-c', '"$@"; exit $?', 'sh', ...lab.guest()] }),
      signal: 'SIGTERM',
    }),
  };

async function live(mode: string): Promise<{ complaints: Complaint[]; stderr: string }> {
  return withLab(async (lab) => {
    const { trap, signal } = await (modes[mode] as (typeof modes)[string])(lab);
    const note = read(`${lab.runDir}/hook-groups`);
    const { ended } = watchEnd(trap);
    trap.kill(signal);
    const end = await within(endsWithinMs, ended);
    await until('its last words are here', () => trap.child.stderr?.readableEnded);
    const life = { end, serial: lab.said('bye') > 0 ? 'guest: bye' : 'guest: up', stderr: trap.stderr };
    const kept = readdirSync(lab.file('state')).filter((name) => !name.endsWith('.history'));
    return {
      complaints: [
        ...judgeLife(life, { refusal: false, cutOff: signal === 'SIGQUIT' }),
        ...(await leftovers(lab)),
        ...groupsOf(note).map((path): Complaint => ({ kind: 'leftover', what: `the control group ${path}` })),
        ...kept.map((name): Complaint => ({ kind: 'leftover', what: `${name} in the state directory` })),
      ],
      stderr: trap.stderr,
    };
  });
}

/** Control groups of hooks that are there, of a qemu-trap that has written down where it makes its own. */
function groupsOf(note: string): string[] {
  const [, version, path] = /^([12]) (.*)\n$/.exec(note) ?? [];
  if (path === undefined) return [];
  return numberedGroups({ path, version: version === '1' ? 1 : 2 }).map((group) => group.path);
}

export interface StartsTally {
  readonly starts: number;
  readonly count: Count;
}

/** @param starts how many lives, of each mode in its turn */
export async function startAndStop(starts: number, lanes: number, tell: (text: string) => void): Promise<StartsTally> {
  const count = new Count();
  const names = Object.keys(modes);
  const turns = Array.from({ length: starts }, (_, i) => names[i % names.length] as string);
  await inLanes(lanes, turns, async (mode) => {
    const { complaints, stderr } = await live(mode).catch((error: unknown) => ({
      complaints: [{ kind: 'untrue', what: `it did not come to its end: ${String(error)}` } as const],
      stderr: '',
    }));
    count.add(complaints);
    if (complaints.length > 0) tell(`${mode}\n${formatComplaints(complaints, stderr)}`);
  });
  return { starts, count };
}

export function formatStarts({ starts, count }: StartsTally): string {
  return `starts: ${starts}, in ${Object.keys(modes).length} modes (${Object.keys(modes).join(', ')})\n${count.toString()}`;
}
