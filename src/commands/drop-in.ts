import { lstatSync, mkdirSync, readdirSync, readlinkSync, realpathSync, symlinkSync, unlinkSync } from 'node:fs';
import { basename, delimiter, dirname, join, resolve } from 'node:path';
import { divertedPath, isOurs, wasOurs } from '../qemu/real-qemu.js';
import type { DropInChange } from '../options/command.js';
import { status } from '../outcome/exit-status.js';
import { findProgram } from '../qemu/helpers.js';
import { isQemu } from '../qemu/wrappers.js';
import { isThere } from '../system/is-there.js';
import { quietly } from '../system/quietly.js';
import { isExecutable } from '../system/search-path.js';
import { spawnSync } from '../system/spawn.js';
import { UsageError, errorText } from '../system/usage-error.js';

/** Before /usr/bin in every $PATH of a system (hier(7), login.defs(5)), and the administrator's own. */
const linkDirectory = '/usr/local/bin';
/** Where packages put their programs. */
const packagedDirectory = '/usr/bin';
/** What dpkg-divert(1) is told who diverts. */
const owner = 'qemu-trap';

/** Programs that run the QEMUs of a host themselves, and stop them through their own monitor. */
const managers: Readonly<Record<string, string>> = {
  libvirtd: 'libvirt',
  virtqemud: 'libvirt',
  qm: 'Proxmox VE',
  pveversion: 'Proxmox VE',
};

/** @throws {UsageError} on a host whose QEMUs another program runs */
function refuseManagers(change: DropInChange, env: NodeJS.ProcessEnv): void {
  const searchPath = [env['PATH'] ?? '', '/usr/sbin', '/usr/bin', '/sbin'].join(delimiter);
  const found = Object.keys(managers).find((name) => findProgram(name, { PATH: searchPath }) !== null);
  if (found !== undefined)
    throw new UsageError(
      `--drop-in ${change}: this host has ${managers[found]} (${found}), which runs and stops its QEMUs itself: do not use --drop-in here, or add --force`,
    );
}

/** Not one that was put aside: `qemu-system-x86_64.real`. */
function isPlainQemu(name: string): boolean {
  return isQemu(name) && !name.includes('.');
}

/** The QEMUs in the directories of a search path that are not qemu-trap. */
function findQemus(directories: readonly string[]): string[] {
  return directories.flatMap((directory) => {
    let names: string[] = [];
    quietly(() => (names = readdirSync(directory).sort()));
    return names
      .filter(isPlainQemu)
      .map((name) => join(directory, name))
      .filter((path) => isExecutable(path) && !isOurs(path));
  });
}

/** What a link should lead to: the name by which qemu-trap is found, which an upgrade keeps. */
function ownProgram(env: NodeJS.ProcessEnv): string {
  const real = realpathSync(process.argv[1] ?? '');
  const found = findProgram('qemu-trap', env);
  return found !== null && realpathSync(found) === real ? resolve(found) : real;
}

/** @throws {UsageError} if those who call QEMU do not find Node, as qemu-trap has to (env(1) in its first line) */
function requireNode(change: DropInChange): void {
  const searchPath = [linkDirectory, packagedDirectory, '/bin'].join(delimiter);
  if (findProgram('node', { PATH: searchPath }) === null)
    throw new UsageError(
      `--drop-in ${change}: node is neither in ${linkDirectory} nor in ${packagedDirectory}, where a caller of QEMU looks for it: put a link to it there (ln -s ${process.execPath} ${linkDirectory}/node)`,
    );
}

/** @throws {UsageError} with what dpkg-divert said */
function divert(change: DropInChange, env: NodeJS.ProcessEnv, ...words: readonly string[]): string {
  const program = findProgram('dpkg-divert', env);
  if (program === null)
    throw new UsageError(
      `--drop-in ${change}: there is no dpkg-divert(1) here: write --drop-in on, or create the links yourself`,
    );
  // In a group of its own: Ctrl-C must not end it between its database and its file.
  const call = { stdio: ['ignore', 'pipe', 'pipe'], detached: true } as const;
  const { status: code, stdout, stderr } = spawnSync(program, words, call);
  if (code !== 0) throw new UsageError(`--drop-in ${change}: dpkg-divert ${words.join(' ')}: ${stderr.trim()}`);
  return stdout;
}

/** What to do about an error of the file system. */
function refuse(what: string, error: unknown): UsageError {
  const code = (error as NodeJS.ErrnoException).code ?? errorText(error);
  const isRights = code === 'EACCES' || code === 'EPERM';
  return new UsageError(`${what} (${code})${isRights ? ': run it as root' : ': is it there already, or read-only?'}`);
}

function link(change: DropInChange, program: string, path: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true });
    symlinkSync(program, path);
  } catch (error) {
    throw refuse(`--drop-in ${change}: ${path} cannot be made`, error);
  }
}

function turnOn(program: string, env: NodeJS.ProcessEnv): string[] {
  const directories = (env['PATH'] ?? '').split(delimiter).filter((directory) => resolve(directory) !== linkDirectory);
  const names = [...new Set(findQemus(directories).map((path) => basename(path)))];
  if (names.length === 0) throw new UsageError('--drop-in on: there is no QEMU in $PATH: install it', status.notFound);
  return names.map((name) => {
    const path = join(linkDirectory, name);
    if (isOurs(path)) return `${path} leads to qemu-trap already`;
    if (isThere(path) && !wasOurs(path)) return `${path} exists already, and was not changed`;
    quietly(() => unlinkSync(path));
    link('on', program, path);
    const first = findProgram(name, env);
    const hidden = first === path ? '' : `; but $PATH has ${first} first: put ${linkDirectory} before it`;
    return `${path} leads to ${program}${hidden}`;
  });
}

/** Diverts one QEMU, and puts the link in its place: both, or none. */
function replace(path: string, program: string, env: NodeJS.ProcessEnv): void {
  const to = divertedPath(path);
  mkdirSync(dirname(to), { recursive: true });
  divert('divert', env, '--package', owner, '--divert', to, '--rename', '--add', path);
  try {
    link('divert', program, path);
  } catch (error) {
    divert('divert', env, '--package', owner, '--rename', '--remove', path);
    throw error;
  }
}

function turnOnByPath(program: string, env: NodeJS.ProcessEnv): string[] {
  const { ours, others } = listDiverted('divert', env);
  // What was interrupted: QEMU was moved from its place, and nothing has taken it.
  const mended = ours.filter((path) => !isThere(path) && isThere(divertedPath(path)));
  for (const path of mended) link('divert', program, path);
  const qemus = findQemus([packagedDirectory]);
  if (qemus.length === 0 && ours.length === 0)
    throw new UsageError(`--drop-in divert: there is no QEMU in ${packagedDirectory}: install it`, status.notFound);
  const obstacleOf = (path: string): string | null => {
    if (ours.includes(path))
      return 'it is diverted for qemu-trap, and no link to it: --drop-in off, and move it by hand';
    if (others.includes(path)) return 'it is diverted already (dpkg-divert --list)';
    return isThere(divertedPath(path)) ? `${divertedPath(path)} exists already` : null;
  };
  const done = new Set([...ours.filter(isOurs), ...mended]);
  const said = [...done].map((path) => `${path} leads to ${program}`);
  // A link goes with what it leads to, or not at all: kvm is one beside its QEMU.
  const isLink = (path: string): boolean => lstatSync(path).isSymbolicLink();
  for (const path of qemus.sort((a, b) => Number(isLink(a)) - Number(isLink(b)))) {
    const target = isLink(path) ? resolve(dirname(path), readlinkSync(path)) : null;
    const isAlone = target !== null && !done.has(target);
    const obstacle = obstacleOf(path) ?? (isAlone ? `${target} is not diverted` : null);
    if (obstacle !== null) {
      said.push(`${path} was not changed: ${obstacle}`);
      continue;
    }
    replace(path, program, env);
    done.add(path);
    said.push(`${path} leads to ${program}; QEMU itself is ${divertedPath(path)}`);
  }
  return said;
}

/** The QEMUs that are diverted: for qemu-trap, and by others. */
function listDiverted(
  change: DropInChange,
  env: NodeJS.ProcessEnv,
): { readonly ours: readonly string[]; readonly others: readonly string[] } {
  if (findProgram('dpkg-divert', env) === null) return { ours: [], others: [] };
  const lines = divert(change, env, '--list').split('\n');
  const of = (isOwn: boolean): string[] =>
    lines
      .filter((line) => line.endsWith(` by ${owner}`) === isOwn)
      .flatMap((line) => /^(?:local )?diversion of (\S+) to /.exec(line)?.[1] ?? [])
      .filter(isQemu);
  return { ours: of(true), others: of(false) };
}

function turnOff(env: NodeJS.ProcessEnv): string[] {
  const remove = (path: string): void => {
    try {
      unlinkSync(path);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'ENOENT') throw refuse(`--drop-in off: ${path} cannot be removed`, error);
    }
  };
  let names: string[] = [];
  quietly(() => (names = readdirSync(linkDirectory).sort()));
  const links = names.filter(isQemu).map((name) => join(linkDirectory, name));
  const done = links.filter(wasOurs).map((path) => {
    remove(path);
    return `${path} is removed`;
  });
  for (const path of listDiverted('off', env).ours) {
    if (isThere(path) && !wasOurs(path)) {
      done.push(`${path} was not changed: it does not lead to qemu-trap`);
      continue;
    }
    if (!isThere(divertedPath(path))) {
      done.push(`${path} was not changed: ${divertedPath(path)} is missing, reinstall QEMU's package`);
      continue;
    }
    remove(path);
    divert('off', env, '--package', owner, '--rename', '--remove', path);
    done.push(`${path} is QEMU itself again`);
  }
  quietly(() => (names = readdirSync(packagedDirectory).sort()));
  const left = names
    .filter(isQemu)
    .map((name) => join(packagedDirectory, name))
    .filter(isOurs);
  for (const path of left)
    if (!done.some((line) => line.startsWith(`${path} `)))
      done.push(`${path} leads to qemu-trap, and dpkg-divert(1) knows nothing of it: move ${divertedPath(path)} there`);
  return done.length === 0 ? ['qemu-trap is no drop-in on this host'] : done;
}

/**
 * Puts qemu-trap in the place of this host's QEMUs, or takes it away again.
 * @param isForced on a host whose QEMUs another program runs, too
 * @returns what was done, a line each
 * @throws {UsageError} if it must not, or cannot be done
 */
export function changeDropIn(change: DropInChange, isForced: boolean, env: NodeJS.ProcessEnv): string {
  if (change !== 'off') {
    if (!isForced) refuseManagers(change, env);
    requireNode(change);
  }
  const done = change === 'off' ? turnOff(env) : (change === 'on' ? turnOn : turnOnByPath)(ownProgram(env), env);
  return done.map((line) => `${line}\n`).join('');
}
