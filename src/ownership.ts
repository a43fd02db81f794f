import type { Stats } from 'node:fs';
import { userInfo } from 'node:os';

/** Something wrong with a file, and the command that mends it. */
export interface Fault {
  readonly what: string;
  readonly mend: string;
}

/** A path as a shell takes it. */
export function shellQuote(path: string): string {
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;
}

/** A user without an entry in passwd has a number only. */
function ownName(uid: number): string {
  try {
    return userInfo().username;
  } catch {
    return String(uid);
  }
}

/** Who, besides root and the running user, may change what `stats` is of. */
export function openToOthers(path: string, stats: Stats, kind: string): Fault | null {
  const uid = process.geteuid?.() ?? 0;
  const gid = process.getegid?.() ?? 0;
  if (stats.uid !== 0 && stats.uid !== uid) {
    const owner = uid === 0 ? 'root' : ownName(uid);
    return { what: `${kind} belongs to user ${stats.uid}, neither root nor the user qemu-trap runs as`, mend: `chown ${owner} ${shellQuote(path)}` };
  }
  if (stats.mode & 0o002) return { what: `${kind} can be written by everybody`, mend: `chmod go-w ${shellQuote(path)}` };
  if (stats.mode & 0o020 && stats.gid !== gid) {
    return { what: `${kind} can be written by group ${stats.gid}`, mend: `chmod g-w ${shellQuote(path)}` };
  }
  return null;
}
