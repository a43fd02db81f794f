import { hookNames, parseSignal } from '../signals/names.js';
import { isEventName, knownEvents } from '../hook/event-names.js';
import { isLifecycleHook } from '../hook/find.js';
import { meantHook } from '../hook/meant-name.js';

/** A name in the hooks directory that nothing runs. */
export interface NameFault {
  readonly what: string;
  /** The name that was meant; `null`: it cannot be told. */
  readonly better: string | null;
  /** If `false`, it may be what its owner wants: a helper of another script, say. */
  readonly isFault: boolean;
}

/** What an editor, a package manager or an administrator calls what is to be out of the way. */
const putAway = /(^\.|~$|\.(bak|old|orig|save|saved|off|disabled|swp|new|rej|dpkg-[a-z]+|rpm[a-z]+|[0-9]+)$)/;
/** RESUME is near to the first. */
const papers = /^(README|LICENSE|COPYING|NOTES?|TODO)$/i;

/** Whether a name is that of a text for people. */
export function isForReading(name: string): boolean {
  return papers.test(name);
}

const scriptSuffix = /\.(?:sh|bash|py|pl|rb|js|mjs|lua|php)$/;

/** Whether a signal, an event, or a moment of the VM's life runs what has that name. */
export function isRunByName(name: string, events: readonly string[] | null): boolean {
  const stem = name.replace(/\.d$/, '');
  const parsed = parseSignal(stem);
  return (
    (events ?? knownEvents).includes(stem) ||
    isLifecycleHook(stem) ||
    ('signal' in parsed && hookNames(parsed.signal).includes(stem))
  );
}

/**
 * What is wrong with a name in the hooks directory that nothing runs, and that no rule names.
 * @param events by the schema of a QEMU; `null`: none was asked
 * @param isExecutable asked if that matters: what cannot be run may be a README
 * @returns `null` if it is not meant to be a hook
 */
export function findNameFault(
  name: string,
  events: readonly string[] | null,
  isExecutable: () => boolean,
): NameFault | null {
  if (putAway.test(name)) return null;
  const isDirectory = name.endsWith('.d');
  const stem = isDirectory ? name.slice(0, -'.d'.length) : name;
  const word = stem.replace(scriptSuffix, '');
  const parsed = parseSignal(word);
  if (isForReading(word) || !/^[\w-]+$/.test(word)) return null;

  const meant = meantHook(word, events ?? knownEvents);
  if ('error' in parsed && parsed.isSignal && meant?.isSame !== true)
    return { what: `no signal runs it: ${parsed.error}`, better: null, isFault: true };
  if (meant === null) return unlikeAny(word, events, parsed, isExecutable);
  const { name: better, orElse, isSame, isToBeRenamed } = meant;
  // A helper of another script may well be called `watchdog`, or `stat`, but not so.
  const isMarked = /[A-Z_-]/.test(word) || word !== stem || (isSame && better !== word.toUpperCase());
  const isHookForSure = (isSame && isMarked) || /^SIG/.test(word);
  if (!isHookForSure && !isExecutable()) return null;
  const meantWords = `${better}${orElse === null ? '' : `, or ${orElse}`}`;
  const what = isMarked
    ? `nothing runs it; ${meantWords} is probably meant`
    : `nothing runs it by itself; if it is no helper of another script, ${meantWords} is meant`;
  return { what, better: isToBeRenamed ? `${better}${isDirectory ? '.d' : ''}` : null, isFault: isMarked };
}

function unlikeAny(
  word: string,
  events: readonly string[] | null,
  parsed: ReturnType<typeof parseSignal>,
  isExecutable: () => boolean,
): NameFault | null {
  if (/^SIG[A-Z0-9]+$/.test(word) && 'error' in parsed)
    return { what: `no signal runs it: ${parsed.error}`, better: null, isFault: true };
  if (!isEventName(word) || !isExecutable()) return null;
  return events === null
    ? {
        what: 'no event of that name is known; give --check the command of your QEMU, which has it or not',
        better: null,
        isFault: false,
      }
    : { what: 'your QEMU has no event of that name', better: null, isFault: true };
}
