import { shortDigest } from '../system/short-hash.js';

const longestDefaultName = 60;

/** A VM's name as a file's: short enough for a socket's path, and never a path of its own. */
export function asFileName(vm: string): string {
  const plain = vm.replaceAll(/[^A-Za-z0-9._-]/g, '_').replace(/^\./, '_');
  if (plain === vm && vm.length <= longestDefaultName) return vm;
  return `${plain.slice(0, longestDefaultName - 9)}-${shortDigest(vm)}`;
}
