import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { execute, isAlive, type Lab, read, type Trap, until, withLab } from '../support/lab.js';
import { Linux, says } from '../support/linux.js';
import {
  type Allowed,
  type Complaint,
  Count,
  formatComplaints,
  inLanes,
  judgeLife,
  leftovers,
  quietly,
  watchEnd,
  within,
} from './life.js';
import { Random } from './plan.js';

/*
 * Two signals at once, in each phase of a VM's life. The second goes to qemu-trap, or, as timeout(1) and a terminal do it,
 * to its whole process group.
 */

const signals = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGPWR', 'SIGUSR1', 'SIGUSR2', 'SIGCONT'] as const;
type Signal = (typeof signals)[number];
const stopping: readonly Signal[] = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGPWR'];

/** QEMU, which is in the group, is shielded from them. */
const ofGroups: readonly Signal[] = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT'];

const timeoutS = 8;
const killAfterS = 2;
const patienceMs = 20_000;

interface Phase {
  readonly name: string;
  /** Goes there. */
  readonly enter: (lab: Lab) => Promise<Trap>;
  /** Lets it go on. */
  readonly leave?: (lab: Lab, trap: Trap) => void;
  /** What the phase makes possible. */
  readonly allowed?: Partial<Allowed>;
  /** It is told to stop by the phase. */
  readonly isStopping?: true;
  /** Its guest is to be resumed by a next start. */
  readonly isSaved?: true;
}

const gate = (lab: Lab): string => lab.file('gate');
const gated = (lab: Lab): string => `#!/bin/sh\nuntil [ -e ${gate(lab)} ]; do sleep 0.02; done\n`;
const open = (lab: Lab): void => writeFileSync(gate(lab), '');

function start(lab: Lab, more: Parameters<Lab['start']>[0] = {}): Trap {
  const times = ['--timeout', String(timeoutS), '--kill-after', String(killAfterS), '--press', '1'];
  const options = ['--hooks', lab.hooks, ...times];
  return lab.start({ ...more, options: [...options, ...(more.options ?? [])] });
}

async function up(lab: Lab, more: Parameters<Lab['start']>[0] = {}): Promise<Trap> {
  const trap = start(lab, more);
  await until('the guest is up', () => trap.events('ready').length > 0 && lab.said('up') > 0, patienceMs);
  return trap;
}

async function hookStarted(trap: Trap, what: Readonly<Record<string, unknown>>): Promise<void> {
  await until('its hook runs', () =>
    trap.events('hook-start').some((each) => Object.entries(what).every(([name, value]) => each[name] === value)),
  );
}

/** Its traps are set (SigCgt of proc(5)). */
function isTrapping(pid: number): boolean {
  const caught = /^SigCgt:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? '0';
  return (BigInt(`0x${caught}`) & (1n << 14n)) !== 0n;
}

/** A guest that is up, and a hook that a signal to it has begun. */
async function atHook(lab: Lab, signal: Signal, options: readonly string[]): Promise<Trap> {
  const trap = await up(lab, { options });
  trap.kill(signal);
  await hookStarted(trap, { signal });
  return trap;
}

const saving = ['--signal', 'USR2,script=save,default=none'];

const phases: readonly Phase[] = [
  { name: 'exec', enter: async (lab) => start(lab), allowed: { refusal: true } },
  {
    name: 'start',
    enter: async (lab) => {
      const trap = start(lab);
      await quietly(until('its traps are set', () => isTrapping(trap.pid), patienceMs));
      return trap;
    },
    allowed: { refusal: true },
  },
  {
    name: 'before the monitor',
    enter: async (lab) => {
      const trap = start(lab);
      await trap.event('start');
      process.kill(trap.qemuPid, 'SIGSTOP');
      return trap;
    },
    leave: (_, trap) => {
      if (isAlive(trap.qemuPid)) process.kill(trap.qemuPid, 'SIGCONT');
    },
    allowed: { refusal: true },
  },
  {
    name: 'hook ready',
    enter: async (lab) => {
      lab.hook('ready', gated(lab));
      const trap = start(lab);
      await hookStarted(trap, { occasion: 'ready' });
      await lab.guestSaid('up');
      return trap;
    },
    leave: open,
  },
  { name: 'up', enter: (lab) => up(lab) },
  {
    name: "a signal's hook",
    enter: (lab) => {
      lab.hook('SIGHUP', gated(lab));
      return atHook(lab, 'SIGHUP', ['--signal', 'HUP,default=none']);
    },
    leave: open,
  },
  {
    name: 'waiting for the guest',
    enter: async (lab) => {
      const trap = await up(lab, { temper: 'lingering' });
      trap.kill('SIGTERM');
      await lab.guestSaid('pressed');
      return trap;
    },
    isStopping: true,
  },
  {
    name: 'quit',
    enter: async (lab) => {
      const trap = await up(lab, { temper: 'stubborn' });
      trap.kill('SIGQUIT');
      return trap;
    },
    isStopping: true,
    allowed: { cutOff: true },
  },
  {
    name: 'hook end',
    enter: async (lab) => {
      lab.hook('end', gated(lab));
      const trap = await up(lab);
      trap.kill('SIGTERM');
      await hookStarted(trap, { occasion: 'end' });
      return trap;
    },
    leave: open,
    isStopping: true,
  },
  {
    name: 'save',
    enter: (lab) => atHook(lab, 'SIGUSR2', saving),
    isSaved: true,
  },
  {
    name: 'load',
    enter: async (lab) => {
      const first = await up(lab, { options: saving });
      first.kill('SIGUSR2');
      if ((await first.status()) !== 0) throw new Error(`not saved:\n${first.stderr}`);
      const trap = start(lab, { options: saving });
      await trap.event('start');
      return trap;
    },
    isSaved: true,
  },
  {
    name: 'take-over',
    enter: async (lab) => {
      const first = await up(lab, { options: ['--on-death', 'keep'] });
      await first.die();
      const trap = start(lab);
      await trap.event('takeover');
      return trap;
    },
  },
  {
    name: 'attach',
    enter: async (lab) => {
      lab.spawn([...lab.guest(), '-qmp', `unix:${lab.file('qmp')},server=on,wait=off`], { stdio: 'ignore' });
      await lab.guestSaid('up');
      const trap = start(lab, { command: [], options: ['--attach', lab.file('qmp')] });
      await trap.event('takeover');
      return trap;
    },
  },
  {
    name: "an event's hook",
    enter: async (lab) => {
      lab.hook('RESET', gated(lab));
      const trap = await up(lab);
      await execute(lab, 'system_reset');
      await until('its hook runs', () => trap.events('hook-start').some(({ hook }) => String(hook).endsWith('/RESET')));
      await lab.guestSaid('up', 2);
      return trap;
    },
    leave: open,
  },
];

/** Frozen by the agent of a real Linux: three seconds each. */
const frozen: Phase = {
  name: 'freeze',
  enter: async (lab) => {
    const linux = new Linux(lab);
    const options = ['--agent', linux.agent, '--signal', 'USR1,script=freeze', '--signal', 'USR2,script=thaw'];
    const command = linux.command();
    command[command.indexOf(`file,id=serial,path=${linux.serial},append=on`)] =
      `file,id=serial,path=${lab.serial},append=on`;
    const trap = start(lab, { command, options });
    await until('the guest is up', () => read(lab.serial).includes(says.up), 60_000);
    trap.kill('SIGUSR1');
    await hookStarted(trap, { signal: 'SIGUSR1' });
    return trap;
  },
};

interface Pair {
  readonly phase: Phase;
  readonly first: Signal;
  readonly second: Signal;
  readonly isToGroup: boolean;
}

interface Outcome {
  readonly complaints: readonly Complaint[];
  readonly stderr: string;
}

/** Its guest's next life ends cleanly. */
async function resume(lab: Lab): Promise<Outcome> {
  const next = start(lab, { options: saving });
  await quietly(until('it is there', () => next.events('ready').length > 0 || !isAlive(next.pid), patienceMs));
  if (isAlive(next.pid)) next.kill('SIGTERM');
  const end = await within(patienceMs + timeoutS * 1_000, watchEnd(next).ended);
  const complaints: Complaint[] =
    end?.code === 0 && lab.said('bye') > 0
      ? []
      : [{ kind: 'lost', what: `saved, and the next one ended with ${end?.signal ?? end?.code ?? 'nothing'}` }];
  return { complaints, stderr: next.stderr };
}

async function tryPair({ phase, first, second, isToGroup }: Pair): Promise<Outcome> {
  return withLab(async (lab) => {
    const trap = await phase.enter(lab);
    const { ended, isOver } = watchEnd(trap);
    trap.child.kill(first);
    if (!isToGroup) trap.child.kill(second);
    else if (isAlive(trap.pid)) process.kill(-trap.pid, second);
    phase.leave?.(lab, trap);
    const stops = phase.isStopping === true || stopping.includes(first) || stopping.includes(second);
    if (!stops) {
      await within(phase.isSaved ? 3_000 : 300, ended);
      // One that goes on says nothing of it.
      if (!isOver() && !phase.isSaved)
        await quietly(until('its guest is up', () => isOver() || read(lab.serial) !== '', patienceMs));
      if (!isOver()) trap.child.kill('SIGTERM');
    }
    // HUP may be a rule of the phase that leaves the guest running.
    let end = await within(1_000, ended);
    if (end === null && !isOver()) {
      trap.child.kill('SIGTERM');
      end = await within((timeoutS + killAfterS) * 1_000 + 30_000, ended);
    }
    await quietly(until('its last words are here', () => trap.child.stderr?.readableEnded, 3_000));
    const serial = read(lab.serial);
    if (phase.isSaved && end?.code === 0 && lab.said('bye') === 0 && existsSync(lab.file('state'))) {
      const { complaints, stderr } = await resume(lab);
      return { complaints: [...complaints, ...(await leftovers(lab))], stderr: `${trap.stderr}--\n${stderr}` };
    }
    const allowed: Allowed = {
      refusal: phase.allowed?.refusal ?? false,
      cutOff: phase.allowed?.cutOff === true || first === 'SIGQUIT' || second === 'SIGQUIT',
    };
    // A Linux says goodbye in words of its own.
    const life = {
      end,
      serial: phase === frozen ? serial.replace(says.bye, 'guest: bye') : serial,
      stderr: trap.stderr,
    };
    return { complaints: [...judgeLife(life, allowed), ...(await leftovers(lab))], stderr: trap.stderr };
  });
}

export interface PairsTally {
  readonly pairs: number;
  readonly phases: readonly string[];
  readonly count: Count;
}

/**
 * @param each how many, drawn by `seed`; `null`: all
 * @param isLinux whether there is a guest that can be frozen
 * @param only the name of one phase; `null`: all
 */
export async function sendPairs(
  seed: number,
  each: number | null,
  lanes: number,
  isLinux: boolean,
  only: string | null,
  tell: (text: string) => void,
): Promise<PairsTally> {
  const random = new Random(seed);
  const wanted = [...phases, ...(isLinux ? [frozen] : [])].filter(({ name }) => only === null || name === only);
  const all = wanted.flatMap((phase) =>
    signals.flatMap((first) =>
      signals.flatMap((second): Pair[] =>
        [false, ...(ofGroups.includes(second) ? [true] : [])].map((isToGroup) => ({ phase, first, second, isToGroup })),
      ),
    ),
  );
  const drawn = random.some(all, each);
  const count = new Count();
  await inLanes(lanes, drawn, async (pair) => {
    const name = `${pair.phase.name}: ${pair.first}, ${pair.second}${pair.isToGroup ? ' to the group' : ''}`;
    let outcome: Outcome;
    try {
      outcome = await tryPair(pair);
    } catch (error) {
      outcome = { complaints: [{ kind: 'untrue', what: `the phase was not reached: ${String(error)}` }], stderr: '' };
    }
    count.add(outcome.complaints);
    if (outcome.complaints.length > 0) tell(`${name}\n${formatComplaints(outcome.complaints, outcome.stderr)}`);
  });
  return { pairs: drawn.length, phases: [...new Set(drawn.map(({ phase }) => phase.name))], count };
}

export function formatPairs(seed: number, { pairs, phases: met, count }: PairsTally): string {
  return `pairs of signals, seed ${seed}: ${pairs}, in ${met.length} phases (${met.join(', ')})\n${count.toString()}`;
}
