import { readlinkSync, realpathSync, statSync } from 'node:fs';
import { basename, delimiter, dirname, join, resolve } from 'node:path';
import { isQemu } from './wrappers.js';
import { isExecutable } from '../system/search-path.js';

/*
 * qemu-trap under the name of a QEMU, and the QEMU behind it.
 */

/**
 * The name of a QEMU by which qemu-trap was called, through a link.
 * @param script what Node was given to run, which has the link's own name
 */
export function calledAsQemu(script: string): string | null {
  const name = basename(script);
  return isQemu(name) ? name : null;
}

/** True for a link to qemu-trap, be it this installation or another. */
export function isOurs(path: string): boolean {
  try {
    return ['qemu-trap', 'qemu-trap.cjs'].includes(basename(realpathSync(path)));
  } catch {
    return false;
  }
}

/** True for a link to qemu-trap that leads nowhere any more, too. */
export function wasOurs(path: string): boolean {
  if (isOurs(path)) return true;
  try {
    return ['qemu-trap', 'qemu-trap.cjs'].includes(basename(readlinkSync(path)));
  } catch {
    return false;
  }
}

/**
 * Where a QEMU lies that a link to qemu-trap has taken the place of (dpkg-divert(1)). It has to be beside the folder of
 * the link, because QEMU looks for its firmware from where it lies itself (get_relocated_path of QEMU's util/cutils.c), and
 * has to have its name, which it prints, and by which `kvm` knows that it is to use KVM.
 */
export function divertedPath(link: string): string {
  return join(dirname(dirname(resolve(link))), 'libexec', basename(link));
}

function isProgram(path: string): boolean {
  try {
    return statSync(path).isFile() && isExecutable(path) && !isOurs(path);
  } catch {
    return false;
  }
}

/**
 * In the environment of what was taken for QEMU: the paths of all that was. If it is a script that calls qemu-trap by the
 * path of a link, the next is taken.
 */
export const takenVariable = 'QEMU_TRAP_TAKEN';

/** The environment for a QEMU that was found at `path`. */
export function withTaken(path: string, env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return { ...env, [takenVariable]: [...takenBefore(env), path].join(delimiter) };
}

function takenBefore(env: NodeJS.ProcessEnv): string[] {
  return (env[takenVariable] ?? '').split(delimiter).filter(Boolean);
}

/** The directories of the search path after that of the link, and then the others. */
function directoriesAfter(link: string, env: NodeJS.ProcessEnv): string[] {
  const directories = (env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin').split(delimiter);
  const at = directories.findIndex((directory) => resolve(directory || '.') === dirname(resolve(link)));
  return [...directories.slice(at + 1), ...directories.slice(0, at + 1)];
}

/**
 * The real QEMU of a name: the one that a link has taken the place of, or the next on the search path that is not
 * qemu-trap.
 * @param link by which qemu-trap was called
 * @returns its path as it was found, or `null`
 */
export function findRealQemu(link: string, env: NodeJS.ProcessEnv): string | null {
  const directories = directoriesAfter(link, env);
  const name = basename(link);
  const links = [resolve(link), ...directories.map((directory) => resolve(directory || '.', name)).filter(isOurs)];
  const candidates = [
    divertedPath(links[0] as string),
    ...directories.map((directory) => join(directory || '.', name)),
    ...links.map(divertedPath),
  ];
  const taken = takenBefore(env);
  return candidates.find((path) => isProgram(path) && !taken.includes(path)) ?? null;
}
