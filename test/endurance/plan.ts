import type { PowerButtonBehaviour } from '../../src/commands/try/guest.js';

/*
 * What goes wrong on one bad day of a VM: drawn from a seed, so that a day can be lived again.
 */

/** What the machine that runs the days can do. */
export interface Powers {
  /** Root, who can become another user and mount a small disk. */
  readonly root: boolean;
  /** The folder of a mount can be made. */
  readonly mount: boolean;
  /** The library that sets the clock of one program, or `null`. */
  readonly clock: string | null;
}

export const faultKinds = [
  'kill-hook',
  'stop-hook',
  'stop-trap',
  'kill-trap',
  'stop-qemu',
  'kill-qemu',
  'hang-qemu',
  'fill-disk',
  'few-files',
  'few-processes',
  'remove-run-dir',
  'remove-hooks',
  'remove-socket',
  'storm',
  'rubbish',
  'hold-monitors',
  'set-clock',
  'second-stop',
  'quit',
] as const;
export type FaultKind = (typeof faultKinds)[number];

export interface Fault {
  readonly kind: FaultKind;
  /** When, in milliseconds after the start (`from: 'start'`), or after the signal that stops the VM. */
  readonly from: 'start' | 'stop';
  readonly after: number;
  /** For how long, where it ends by itself; in milliseconds. */
  readonly lasts: number;
  /** Draws what is left open. */
  readonly seed: number;
}

export type HookKind =
  | 'bundled'
  | 'in-process'
  | 'presses'
  | 'forgets'
  | 'slow'
  | 'fails'
  | 'hangs'
  | 'hangs-deaf'
  | 'leaves-children';
export type StderrKind = 'read' | 'unread' | 'closed' | 'full';

export interface Plan {
  readonly number: number;
  readonly seed: number;
  readonly onDeath: 'kill' | 'keep';
  readonly temper: PowerButtonBehaviour;
  readonly hook: HookKind;
  readonly stderr: StderrKind;
  /** Runs as another user than root, whose processes can be counted. */
  readonly asUser: boolean;
  readonly smallDisk: boolean;
  readonly ownClock: boolean;
  readonly stop: NodeJS.Signals;
  /** After the guest is up, or so many milliseconds after qemu-trap was started. */
  readonly stopAt: 'up' | number;
  readonly faults: readonly Fault[];
}

/** Mulberry32: small, and the same everywhere. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0 up to, and without, 1. */
  fraction(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  below(limit: number): number {
    return Math.floor(this.fraction() * limit);
  }

  one<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)] as T;
  }

  /** As many of them, one of them more than once perhaps; `null`: each of them. */
  some<T>(choices: readonly T[], times: number | null): readonly T[] {
    return times === null ? choices : Array.from({ length: times }, () => this.one(choices));
  }

  chance(probability: number): boolean {
    return this.fraction() < probability;
  }
}

type Mutable<T> = { -readonly [key in keyof T]: T[key] };

/** A fault that cannot be had without what it needs, or that another makes pointless. */
function canBe(kind: FaultKind, plan: Omit<Plan, 'faults'>, others: readonly Fault[]): boolean {
  const has = (...kinds: FaultKind[]): boolean => others.some((other) => kinds.includes(other.kind));
  switch (kind) {
    case 'fill-disk':
      return plan.smallDisk;
    case 'few-processes':
      return plan.asUser;
    case 'set-clock':
      return plan.ownClock;
    case 'kill-trap':
      // Where the run directory has gone the next start cannot know of a guest that was kept.
      return !has(
        'remove-run-dir',
        'remove-socket',
        'fill-disk',
        'few-files',
        'few-processes',
        'kill-trap',
        'hang-qemu',
        'kill-qemu',
      );
    case 'remove-run-dir':
    case 'remove-socket':
    case 'few-files':
      return !has('kill-trap');
    case 'kill-qemu':
    case 'hang-qemu':
      // What is stopped for a while is continued, and then hangs no more.
      return !has('kill-trap', 'kill-qemu', 'hang-qemu', 'stop-qemu');
    case 'stop-qemu':
      return !has('hang-qemu');
    default:
      return true;
  }
}

/** Day `number` of those that `seed` holds. */
export function makePlan(seed: number, number: number, powers: Powers): Plan {
  const daySeed = (Math.imul(seed, 0x9e3779b1) ^ Math.imul(number + 1, 0x85ebca6b)) >>> 0;
  const random = new Random(daySeed);
  const day: Mutable<Omit<Plan, 'faults'>> = {
    number,
    seed,
    onDeath: random.one(['kill', 'keep']),
    temper: random.one(['obedient', 'obedient', 'obedient', 'obedient', 'lingering', 'stubborn']),
    hook: random.one([
      'bundled',
      'bundled',
      'in-process',
      'presses',
      'forgets',
      'slow',
      'fails',
      'hangs',
      'hangs-deaf',
      'leaves-children',
    ]),
    stderr: random.one(['read', 'read', 'read', 'unread', 'closed', 'full']),
    asUser: powers.root && random.chance(0.3),
    smallDisk: powers.mount && random.chance(0.3),
    ownClock: powers.clock !== null && random.chance(0.2),
    stop: random.one(['SIGTERM', 'SIGTERM', 'SIGINT', 'SIGHUP', 'SIGPWR']),
    stopAt: random.chance(0.7) ? 'up' : random.below(900),
  };
  // A hook that presses once may do it too early, into firmware: that is the hook's affair, as docs/hooks.md says.
  const pressesOnce = day.hook === 'forgets' || day.hook === 'leaves-children' || day.hook === 'slow';
  if (pressesOnce) day.stopAt = 'up';
  const faults: Fault[] = [];
  for (let wanted = random.below(5); wanted > 0; wanted--) {
    const kind = day.ownClock && random.chance(0.4) ? 'set-clock' : random.one(faultKinds);
    const fault: Fault = {
      kind,
      from: kind === 'second-stop' || kind === 'quit' ? 'stop' : random.one(['start', 'stop', 'stop']),
      after: random.below(random.one([30, 300, 1_500])),
      lasts: 50 + random.below(700),
      seed: random.below(2 ** 31),
    };
    if (canBe(kind, day, faults)) faults.push(fault);
  }
  return { ...day, faults };
}

/** A plan in one line. */
export function formatPlan(plan: Plan): string {
  const marks = [
    plan.asUser && 'user',
    plan.smallDisk && 'small-disk',
    plan.ownClock && 'own-clock',
    plan.stderr !== 'read' && `stderr-${plan.stderr}`,
  ].filter(Boolean);
  const faults = plan.faults.map(({ kind, from, after }) => `${kind}@${from}+${after}`);
  return `#${plan.number} ${plan.onDeath} ${plan.temper} hook=${plan.hook} ${plan.stop}@${plan.stopAt}${plan.stopAt === 'up' ? '' : 'ms'} ${[...marks, ...faults].join(' ')}`.trimEnd();
}
