import { readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import {
  type ControlGroup,
  allProcessesIn,
  isInGroup,
  isPopulated,
  killGroup,
  makeGroup,
  moveInto,
  numberedGroups,
  ownControlGroups,
  removeGroup,
} from '../system/control-group.js';
import { quietly } from '../system/quietly.js';
import { isOwnChild } from '../system/spawn.js';
import { runIdPrefix } from './environment.js';

/*
 * A control group for each hook, if one can be made. qemu-trap moves itself into the group of the hook to come, and
 * back when the hook has been started: so the hook is born in it, and the group holds the hook and what it starts, and
 * nothing else. A move may take the kernel 15 ms (it waits for all processors, see cgroup_attach_lock() of Linux), so it
 * is made ahead, while nothing else is to be done, and nothing of it comes between a signal and its hook.
 */

const namePrefix = 'qemu-trap-';

/** What is in the control groups of hooks. */
export interface GroupLook {
  /** What does not belong there is left out. */
  readonly pids: readonly number[];
  /** The kernel says that nothing is left. */
  readonly isEmpty: boolean;
}

/** The control group of one hook. */
export class HookGroup {
  constructor(
    private readonly group: ControlGroup,
    private readonly hookPid: number,
    private readonly foreign: Foreign,
  ) {}

  /** Removes it. @returns `false` if there is something in it still */
  remove(): boolean {
    return removeGroup(this.group);
  }

  look(): GroupLook {
    if (this.remove()) return { pids: [], isEmpty: true };
    const all = allProcessesIn(this.group);
    const pids = this.#hooksOwn(all);
    return { pids, isEmpty: isNothingLeft([this.group], all, pids) };
  }

  /** Kills all of it at once, if the kernel can do that, and nothing else would be killed. */
  kill(): void {
    const all = allProcessesIn(this.group);
    if (all.length === this.#hooksOwn(all).length) killGroup(this.group);
  }

  /** Without programs that qemu-trap started for itself. */
  #hooksOwn(all: readonly number[]): number[] {
    return this.foreign.leaveOut(all).filter((pid) => pid === this.hookPid || !isOwnChild(pid));
  }
}

/**
 * Whether nothing is left in groups that cannot be removed.
 * @param pids those of `all` that do not belong elsewhere
 */
function isNothingLeft(groups: readonly ControlGroup[], all: readonly number[], pids: readonly number[]): boolean {
  // What forks, and exits at once, again and again, is in no list for long enough.
  return pids.length === 0 && (all.length > 0 || !groups.some(isPopulated));
}

/** What a hook may have put into its group, and is not the hook's: QEMU is moved out of it again. */
class Foreign {
  constructor(
    private readonly home: ControlGroup | null,
    private readonly qemu: () => number | null,
  ) {}

  /** Without what is outside our pid namespace, too. */
  leaveOut(pids: readonly number[]): number[] {
    const qemu = this.qemu();
    const { home } = this;
    if (qemu !== null && home !== null && pids.includes(qemu)) quietly(() => moveInto(home, qemu));
    return pids.filter((pid) => pid > 0 && pid !== process.pid && pid !== qemu);
  }
}

/** The control groups of one VM's hooks, one after the other. */
export class HookGroups {
  /** The group that qemu-trap was started in; `null` if none can be made below it, or that has not been tried. */
  #own: ControlGroup | null = null;
  /** The group that qemu-trap is in. */
  #current: ControlGroup | null = null;
  /** No hook has been born in that yet. */
  #isFree = false;
  #isPossible = true;
  #made = 0;
  readonly #given = new Set<HookGroup>();

  /** The pid of QEMU, which is never a hook's to end. */
  qemu: () => number | null = () => null;

  /** @param noteFile says where they are, for a qemu-trap that finds this one killed */
  constructor(private readonly noteFile: string) {}

  /** Moves qemu-trap into the group of the hook to come, if it is not there. */
  prepare(): void {
    if (this.#isFree || !this.#isPossible) return;
    this.#removeEmpty();
    const isFirst = this.#own === null;
    for (const own of isFirst ? ownControlGroups() : [this.#own as ControlGroup]) {
      if (!this.#moveBelow(own)) continue;
      this.#own = own;
      if (isFirst) this.#note(own);
      return;
    }
    if (isFirst) this.#isPossible = false;
  }

  #moveBelow(own: ControlGroup): boolean {
    let group: ControlGroup | null = null;
    try {
      group = makeGroup(own, `${namePrefix}${runIdPrefix}-${this.#made++}`);
      moveInto(group, process.pid);
      this.#current = group;
      return (this.#isFree = true);
    } catch {
      if (group !== null) removeGroup(group);
      return false;
    }
  }

  #note({ path, version }: ControlGroup): void {
    quietly(() =>
      writeFileSync(this.noteFile, `${version} ${join(path, namePrefix + runIdPrefix)}\n`, { mode: 0o600 }),
    );
  }

  /**
   * The group that a hook was born in; from now on it is that hook's.
   * @param pid of the hook, which has been started in this turn of the event loop
   * @returns `null` if it has none of its own
   */
  take(pid: number): HookGroup | null {
    const group = this.#current;
    if (group === null || !this.#isFree) return null;
    this.#isFree = false;
    // If another process has moved us, the hook is where we are.
    const isBornThere = isInGroup(basename(group.path)) ?? true;
    const given = isBornThere ? new HookGroup(group, pid, new Foreign(this.#own, () => this.qemu())) : null;
    if (given !== null) this.#given.add(given);
    this.#moveBack();
    return given;
  }

  /** Moves qemu-trap back to where it was started, and removes the groups that are empty. */
  leave(): void {
    const free = this.#isFree ? this.#current : null;
    if (this.#current !== null) this.#moveBack();
    if (free !== null) removeGroup(free);
    this.#removeEmpty();
  }

  /** A VM may run a hook again and again, for years. */
  #removeEmpty(): void {
    for (const given of this.#given) if (given.remove()) this.#given.delete(given);
  }

  #moveBack(): void {
    this.#isFree = false;
    try {
      if (this.#own !== null) moveInto(this.#own, process.pid);
      this.#current = null;
    } catch {
      // A QEMU that is started now is in a group of ours: it must not be taken for what a hook has left.
      this.#isPossible = false;
      quietly(() => unlinkSync(this.noteFile));
    }
  }
}

/** What is left in the groups of a qemu-trap that was killed. */
export class LeftGroups {
  readonly #beginning: ControlGroup | null;
  readonly #foreign: Foreign;

  /**
   * @param noteFile as the killed one wrote it
   * @param qemu the pid of the QEMU that was left, if there is one
   */
  constructor(noteFile: string, qemu: number | null) {
    this.#beginning = readNote(noteFile);
    const home = this.#beginning && { ...this.#beginning, path: dirname(this.#beginning.path) };
    this.#foreign = new Foreign(home, () => qemu);
  }

  look(): GroupLook {
    const left = this.#groups().filter((group) => !removeGroup(group));
    const all = left.flatMap(allProcessesIn);
    const pids = this.#foreign.leaveOut(all);
    return { pids, isEmpty: isNothingLeft(left, all, pids) };
  }

  /** Kills all in them. */
  kill(): void {
    for (const group of this.#groups()) {
      const all = allProcessesIn(group);
      if (all.length === this.#foreign.leaveOut(all).length) killGroup(group);
    }
  }

  #groups(): ControlGroup[] {
    return this.#beginning === null ? [] : numberedGroups(this.#beginning);
  }
}

function readNote(file: string): ControlGroup | null {
  try {
    const [, version, path = ''] = /^([12]) (\/.*\/qemu-trap-[0-9a-f]{13})\n$/.exec(readFileSync(file, 'utf8')) ?? [];
    return version === undefined ? null : { path, version: version === '1' ? 1 : 2 };
  } catch {
    return null;
  }
}
