import { lstatSync, mkdirSync, readdirSync, realpathSync, symlinkSync, unlinkSync } from 'node:fs';
import { basename, delimiter, dirname, join, resolve } from 'node:path';
import { divertedPath, isOurs, wasOurs } from '../qemu/real-qemu.js';
import type { DropInChange } from '../options/command.js';
import { status } from '../outcome/exit-status.js';
import { findProgram } from '../qemu/helpers.js';
import { isQemu } from '../qemu/wrappers.js';
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

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** @throws {UsageError} on a host whose QEMUs another program runs */
function refuseManagers(change: DropInChange, env: NodeJS.ProcessEnv): void {
  const searchPath = [env['PATH'] ?? '', '/usr/sbin', '/usr/bin', '/sbin'].join(delimiter);
  const found = Object.keys(managers).find((name) => findProgram(name, { PATH: searchPath }) !== null);
  if (found !== undefined)
    throw new UsageError(
      `--drop-in ${change}: this host has ${managers[found]} (${found}), which runs and stops its QEMUs itself: leave it so, or add --force`,
    );
}

/** The QEMUs in the directories of a search path that are not qemu-trap. */
function findQemus(directories: readonly string[]): string[] {
  return directories.flatMap((directory) => {
    let names: string[] = [];
    quietly(() => (names = readdirSync(directory).sort()));
    return names
      .filter(isQemu)
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
      `--drop-in ${change}: node is neither in ${linkDirectory} nor in ${packagedDirectory}, where whoever calls QEMU would look for it: put a link to it there (ln -s ${process.execPath} ${linkDirectory}/node)`,
    );
}

/** @throws {UsageError} with what dpkg-divert said */
function divert(change: DropInChange, env: NodeJS.ProcessEnv, ...words: readonly string[]): string {
  const program = findProgram('dpkg-divert', env);
  if (program === null)
    throw new UsageError(
      `--drop-in ${change}: there is no dpkg-divert(1) here: write --drop-in on, or put links of your own in the place of QEMU`,
    );
  const { status: code, stdout, stderr } = spawnSync(program, words, { stdio: ['ignore', 'pipe', 'pipe'] });
  if (code !== 0) throw new UsageError(`--drop-in ${change}: dpkg-divert ${words.join(' ')}: ${stderr.trim()}`);
  return stdout;
}

function link(change: DropInChange, program: string, path: string): void {
  try {
    symlinkSync(program, path);
  } catch (error) {
    throw new UsageError(
      `--drop-in ${change}: ${path} cannot be made (${(error as NodeJS.ErrnoException).code ?? errorText(error)}): run it as root`,
    );
  }
}

function turnOn(program: string, env: NodeJS.ProcessEnv): string[] {
  const directories = (env['PATH'] ?? '').split(delimiter).filter((directory) => resolve(directory) !== linkDirectory);
  const names = [...new Set(findQemus(directories).map((path) => basename(path)))];
  if (names.length === 0) throw new UsageError('--drop-in on: there is no QEMU in $PATH: install it', status.notFound);
  return names.map((name) => {
    const path = join(linkDirectory, name);
    if (isOurs(path)) return `${path} leads to qemu-trap already`;
    if (isThere(path) && !wasOurs(path)) return `${path} is there already, and is left as it is`;
    quietly(() => unlinkSync(path));
    link('on', program, path);
    const first = findProgram(name, env);
    const hidden = first === path ? '' : `; but $PATH has ${first} first: put ${linkDirectory} before it`;
    return `${path} leads to ${program}${hidden}`;
  });
}

function turnOnByPath(program: string, env: NodeJS.ProcessEnv): string[] {
  const qemus = findQemus([packagedDirectory]);
  if (qemus.length === 0 && listDiverted('divert', env).length === 0)
    throw new UsageError(`--drop-in divert: there is no QEMU in ${packagedDirectory}: install it`, status.notFound);
  return qemus.map((path) => {
    const to = divertedPath(path);
    if (isThere(to)) return `${path} is left as it is: ${to} is there already`;
    mkdirSync(dirname(to), { recursive: true });
    divert('divert', env, '--package', owner, '--divert', to, '--rename', '--add', path);
    try {
      link('divert', program, path);
    } catch (error) {
      divert('divert', env, '--package', owner, '--rename', '--remove', path);
      throw error;
    }
    return `${path} leads to ${program}; QEMU itself is ${to}`;
  });
}

/** What stands in the place of something diverted for qemu-trap. */
function listDiverted(change: DropInChange, env: NodeJS.ProcessEnv): string[] {
  if (findProgram('dpkg-divert', env) === null) return [];
  return [...divert(change, env, '--list').matchAll(/^diversion of (\S+) to \S+ by qemu-trap$/gm)]
    .map(([, path]) => path as string)
    .filter(isQemu);
}

function turnOff(env: NodeJS.ProcessEnv): string[] {
  const remove = (path: string): void => {
    try {
      unlinkSync(path);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'ENOENT')
        throw new UsageError(`--drop-in off: ${path} cannot be removed (${code ?? errorText(error)}): run it as root`);
    }
  };
  let names: string[] = [];
  quietly(() => (names = readdirSync(linkDirectory).sort()));
  const links = names.filter(isQemu).map((name) => join(linkDirectory, name));
  const done = links.filter(wasOurs).map((path) => {
    remove(path);
    return `${path} is removed`;
  });
  for (const path of listDiverted('off', env)) {
    if (isThere(path) && !wasOurs(path)) {
      done.push(`${path} is left as it is: it does not lead to qemu-trap`);
      continue;
    }
    remove(path);
    divert('off', env, '--package', owner, '--rename', '--remove', path);
    done.push(`${path} is QEMU itself again`);
  }
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
