import { existsSync, mkdirSync, readFileSync, readdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { quietly } from './quietly.js';
import { withDescriptor } from './spare-descriptor.js';

/*
 * Control groups (cgroups(7)): the kernel's own book of what comes from whom, whatever a process does with its parent,
 * group, session or environment.
 */

/** A control group, as far as this process may see it. */
export interface ControlGroup {
  /** Its directory. */
  readonly path: string;
  readonly version: 1 | 2;
}

/** One of the hierarchies that this process is in, by its line of /proc/self/cgroup. */
interface Membership {
  readonly version: 1 | 2;
  /** `name=systemd`, say; `''` of version 2. */
  readonly name: string;
  /** From the root of its control-group namespace. */
  readonly path: string;
}

/** Hierarchies that count processes and control nothing: version 2 first, then those of version 1 that have a name. */
function memberships(): Membership[] {
  const lines = readFileSync('/proc/self/cgroup', 'latin1').split('\n');
  const all = lines.flatMap((line): Membership[] => {
    const [, id, name = '', path = ''] = /^(\d+):([^:]*):(.*)$/.exec(line) ?? [];
    // Of another namespace's part of the tree.
    if (id === undefined || path.startsWith('/..')) return [];
    if (id === '0') return [{ version: 2, name: '', path }];
    return name.startsWith('name=') ? [{ version: 1, name, path }] : [];
  });
  return all.sort((a, b) => b.version - a.version);
}

/** Where a hierarchy is mounted, and which part of it (`/proc/[pid]/mountinfo` of proc(5)). */
function* mountsOf({ version, name }: Membership, mountinfo: string): Generator<{ root: string; at: string }> {
  for (const line of mountinfo.split('\n')) {
    const fields = line.split(' ');
    const [type, , options = ''] = fields.slice(fields.indexOf('-') + 1);
    const isIt = version === 2 ? type === 'cgroup2' : type === 'cgroup' && options.split(',').includes(name);
    const [root = '', at = ''] = fields.slice(3, 5).map(unescapeOctal);
    if (isIt) yield { root, at };
  }
}

/** White space and backslashes of a path are octal numbers there. */
function unescapeOctal(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

/** @returns `null` if `path` does not lie in the part of the tree that begins at `root` */
function below(root: string, path: string): string | null {
  if (root === '/') return path;
  return path === root || path.startsWith(`${root}/`) ? path.slice(root.length) : null;
}

/**
 * The control groups that this process is in and can see; none if no control-group file system is mounted here.
 * Which of several mounts is the right one, its list of processes tells.
 */
export function ownControlGroups(): ControlGroup[] {
  try {
    const mountinfo = readFileSync('/proc/self/mountinfo', 'latin1');
    return memberships().flatMap((membership): ControlGroup[] => {
      for (const { root, at } of mountsOf(membership, mountinfo)) {
        const rest = below(root, membership.path);
        if (rest === null) continue;
        const group = { path: join(at, rest), version: membership.version };
        if (processesIn(group)?.includes(process.pid) === true) return [group];
      }
      return [];
    });
  } catch {
    return [];
  }
}

/**
 * The processes of a group, and of none below it; one outside our pid namespace is 0.
 * @returns `null` if they cannot be read
 */
export function processesIn({ path }: ControlGroup): number[] | null {
  return readBook(join(path, 'cgroup.procs'));
}

function readBook(file: string): number[] | null {
  try {
    const book = withDescriptor(() => readFileSync(file, 'latin1'));
    return book.split('\n').slice(0, -1).map(Number);
  } catch {
    return null;
  }
}

function groupsBelow({ path, version }: ControlGroup): ControlGroup[] {
  try {
    const entries = readdirSync(path, { withFileTypes: true });
    return entries.filter((each) => each.isDirectory()).map(({ name }) => ({ path: join(path, name), version }));
  } catch {
    return [];
  }
}

/**
 * The processes of a group, and of all below it. One whose first thread has ended is in no list of processes; it is told
 * by its other threads, each of which kill(2) takes for the whole.
 */
export function allProcessesIn(group: ControlGroup): number[] {
  const listed = processesIn(group) ?? [];
  const threads = listed.length > 0 ? [] : (readBook(join(group.path, threadsFile[group.version])) ?? []);
  return [...listed, ...threads, ...groupsBelow(group).flatMap(allProcessesIn)];
}

const threadsFile = { 1: 'tasks', 2: 'cgroup.threads' } as const;

/** Moves a process into a group. @throws NodeJS.ErrnoException */
export function moveInto({ path }: ControlGroup, pid: number): void {
  withDescriptor(() => writeFileSync(join(path, 'cgroup.procs'), String(pid)));
}

/**
 * Makes a group below another.
 * @throws NodeJS.ErrnoException if that cannot be done here
 */
export function makeGroup(parent: ControlGroup, name: string): ControlGroup {
  const group = { path: join(parent.path, name), version: parent.version };
  mkdirSync(group.path);
  // Else the service manager's agent is run for each that is left empty.
  if (group.version === 1) quietly(() => writeFileSync(join(group.path, 'notify_on_release'), '0'));
  return group;
}

/**
 * Removes a group, and what is below it. The kernel does so only if there is no process in it, so this tells for certain
 * that there is none.
 * @returns `false` if there is
 */
export function removeGroup(group: ControlGroup): boolean {
  if (removeIfEmpty(group)) return true;
  const children = groupsBelow(group);
  return children.length > 0 && children.every(removeGroup) && removeIfEmpty(group);
}

function removeIfEmpty({ path }: ControlGroup): boolean {
  try {
    rmdirSync(path);
    return true;
  } catch {
    return !existsSync(path);
  }
}

/** Kills every process of a group, and of those below, at once, if the kernel has that command (Linux 5.14, version 2). */
export function killGroup({ path, version }: ControlGroup): void {
  if (version === 2) quietly(() => writeFileSync(join(path, 'cgroup.kill'), '1', { flag: 'r+' }));
}

/** False if the kernel says that there is no process in a group, nor in those below it; else it cannot be known. */
export function isPopulated({ path }: ControlGroup): boolean {
  try {
    return !/^populated 0$/m.test(readFileSync(join(path, 'cgroup.events'), 'latin1'));
  } catch {
    return existsSync(path);
  }
}

/** The groups beside `path` whose names are its name and a number. */
export function numberedGroups({ path, version }: ControlGroup): ControlGroup[] {
  return groupsBelow({ path: dirname(path), version }).filter(
    (group) => group.path.startsWith(path) && /^-\d+$/.test(group.path.slice(path.length)),
  );
}

/** Whether this process is in a group of this name; `null` if that cannot be read. */
export function isInGroup(name: string): boolean | null {
  try {
    return withDescriptor(() => readFileSync('/proc/self/cgroup', 'latin1')).includes(`/${name}\n`);
  } catch {
    return null;
  }
}
