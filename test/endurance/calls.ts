import { type Lab, read, type Trap, until, withLab } from '../support/lab.js';
import {
  type Complaint,
  Count,
  type Ended,
  formatComplaints,
  inLanes,
  judgeLife,
  leftovers,
  type Life,
  quietly,
  watchEnd,
  within,
} from './life.js';
import { traced } from '../support/strace.js';
import { Random } from './plan.js';

/*
 * Each system call of qemu-trap's main thread that can fail, failed: strace(1) refuses one call of a whole life (start,
 * ready hook, a signal's hook, shutdown, end hook), or lets it take long, or kills qemu-trap at it.
 */

/** What may come of each call; the page in section 2 of the manual that says so has its name. */
const errors: Readonly<Record<string, readonly string[]>> = {
  openat: ['EMFILE', 'EACCES', 'EIO'],
  mkdir: ['ENOSPC', 'EROFS'],
  unlink: ['EACCES', 'EIO'],
  rmdir: ['EACCES', 'EBUSY'],
  rename: ['ENOSPC', 'EIO'],
  statx: ['EACCES', 'EIO'],
  readlink: ['EACCES', 'ENOENT'],
  access: ['EACCES'],
  getdents64: ['EIO'],
  pread64: ['EIO'],
  fsync: ['EIO'],
  write: ['ENOSPC', 'EIO'],
  clone: ['EAGAIN', 'ENOMEM'],
  kill: ['EPERM', 'ESRCH'],
  chmod: ['EPERM'],
  fchmod: ['EPERM'],
  utimensat: ['EROFS'],
  socket: ['EMFILE', 'ENOBUFS'],
  connect: ['EAGAIN'],
};

/** How long the call that is made slow takes, in milliseconds: longer than the waits of milliseconds on the way. */
const delayMs = 1_200;

/** One call of a life. */
interface Point {
  readonly call: string;
  /** Which of the main thread's calls of that name, from its exec on: what `when=` of strace counts. */
  readonly nth: number;
  /** What it is about, for all that are alike. */
  readonly about: string;
}

type Way = { readonly error: string } | 'delay' | { readonly killed: 'kill' | 'keep' };

const gentle = '#!/bin/sh\nqmp query-status >/dev/null\n';
const timeoutS = 6;
const killAfterS = 2;

function start(lab: Lab, through: readonly string[], onDeath: 'kill' | 'keep'): Trap {
  lab.hook('ready', gentle);
  lab.hook('SIGUSR1', gentle);
  lab.hook('end', '#!/bin/sh\ntrue\n');
  return lab.start({
    through,
    options: [
      ...['--hooks', lab.hooks, '--timeout', String(timeoutS), '--kill-after', String(killAfterS), '--press', '1'],
      ...['--on-death', onDeath],
    ],
  });
}

/** From its start to its end. */
async function live(lab: Lab, trap: Trap): Promise<Ended | null> {
  const { ended, isOver } = watchEnd(trap);
  const reached = (what: () => boolean, ms: number): Promise<unknown> =>
    quietly(until('it is there', () => isOver() || what(), ms));
  await reached(() => trap.events('ready').length > 0 && lab.said('up') > 0, 15_000);
  const send = (signal: NodeJS.Signals): void => {
    if (!isOver()) trap.child.kill(signal);
  };
  send('SIGUSR1');
  await reached(() => trap.events('hook-end').some(({ signal }) => signal === 'SIGUSR1'), 8_000);
  send('SIGTERM');
  return within((timeoutS + killAfterS) * 1_000 + 30_000, ended);
}

/** What is in the middle of a line of strace's: `call(words) = what`. */
const line = /^(\w+)\((.*)\) += (.*)$/;

/** Where in a name there is something of this run alone. */
function about(words: string, result: string, dir: string): string {
  const path = /"(\/[^"]*)"|<([^>]*)>/.exec(words)?.slice(1).find(Boolean) ?? '';
  const name = path.replaceAll(dir, 'LAB').replaceAll(/[0-9]+/g, 'N');
  // Of many names that are not there one is like the other.
  return result.includes('ENOENT') ? `none in ${name.replace(/[^/]*$/, '')}` : name;
}

/** The calls of a life that goes well, after the first trap: of what is alike the first, one in the middle, and the last. */
async function findPoints(): Promise<readonly Point[]> {
  return withLab(async (lab) => {
    const log = lab.file('strace');
    const trap = start(lab, traced(log, [`trace=rt_sigaction,${Object.keys(errors).join()}`]), 'kill');
    const end = await live(lab, trap);
    if (end?.code !== 0) throw new Error(`a life under strace alone: ${JSON.stringify(end)}\n${trap.stderr}`);
    const counts = new Map<string, number>();
    const alike = new Map<string, Point[]>();
    let isTrapped = false;
    for (const [, call = '', words = '', result = ''] of read(log)
      .split('\n')
      .map((each) => line.exec(each) ?? [])) {
      const nth = (counts.get(call) ?? 0) + 1;
      counts.set(call, nth);
      if (call === 'rt_sigaction' && /^SIGTERM, \{sa_handler=0x/.test(words)) isTrapped = true;
      if (!isTrapped || !(call in errors)) continue;
      const point = { call, nth, about: about(words, result, lab.dir) };
      const key = `${call} ${point.about}`;
      alike.set(key, [...(alike.get(key) ?? []), point]);
    }
    return [...alike.values()].flatMap((points) =>
      points.length <= 3
        ? points
        : [points[0] as Point, points[Math.floor(points.length / 2)] as Point, points.at(-1) as Point],
    );
  });
}

const wordsOf = (way: Way): string =>
  way === 'delay' ? 'slow' : 'error' in way ? way.error : `SIGKILL, --on-death ${way.killed}`;

/** What strace is told. */
function injection({ call, nth }: Point, way: Way): string {
  const what = way === 'delay' ? `delay_enter=${delayMs}000` : 'error' in way ? `error=${way.error}` : 'signal=SIGKILL';
  return `inject=${call}:${what}:when=${nth}`;
}

/** Where Node itself gives up: libuv's assertions, and Node's own. */
function isOfNode(stderr: string, end: Ended | null): boolean {
  if (['SIGABRT', 'SIGSEGV', 'SIGTRAP', 'SIGILL'].includes(end?.signal ?? '')) return true;
  return (end?.code ?? 0) > 0 && /Assertion `|FATAL ERROR|# Fatal error|node::/.test(stderr);
}

/** What the kernel never says of a pipe or a socket whose other end lives. Which of its writes is which differs from life to life. */
const isImpossible = (injected: string | null): boolean =>
  /^(statx|write)\(\d+<(pipe|socket|anon_inode)/.test(injected ?? '');

/** What was refused its removal stays. */
function isKeptBy(injected: string | null, { kind, what }: Complaint): boolean {
  return /^(unlink|rmdir)\(/.test(injected ?? '') && kind === 'leftover' && what.startsWith('the run directory');
}

interface Outcome {
  readonly injected: string | null;
  readonly complaints: readonly Complaint[];
  /** It was Node that could not go on. */
  readonly isOfNode: boolean;
  readonly stderr: string;
}

async function tryPoint(point: Point, way: Way): Promise<Outcome> {
  return withLab(async (lab) => {
    const log = lab.file('strace');
    const expressions = [`trace=${point.call}`, injection(point, way)];
    const onDeath = typeof way === 'object' && 'killed' in way ? way.killed : 'kill';
    const trap = start(lab, traced(log, expressions), onDeath);
    const end = await live(lab, trap);
    if (end !== null) await quietly(until('its last words are here', () => trap.child.stderr?.readableEnded, 3_000));
    const injected =
      read(log)
        .split('\n')
        .find((each) => /\((INJECTED|DELAYED)\)|killed by SIGKILL/.test(each)) ?? null;
    const serial = read(lab.serial);
    const life: Life = { end, serial, stderr: trap.stderr };
    if (typeof way === 'object' && 'killed' in way) {
      if (end?.signal !== 'SIGKILL') {
        const complaints = [...judgeLife(life, { refusal: false, cutOff: false }), ...(await leftovers(lab))];
        return { injected: null, complaints, isOfNode: false, stderr: trap.stderr };
      }
      const { complaints, stderr } = await startAnew(lab, way.killed, trap.events('start').length > 0);
      return {
        injected: injected ?? 'SIGKILL',
        complaints,
        isOfNode: false,
        stderr: `${trap.stderr}--\n${stderr}`,
      };
    }
    const isRefused = way !== 'delay';
    const found = [...judgeLife(life, { refusal: isRefused, cutOff: false }), ...(await leftovers(lab))];
    const complaints = isRefused && isImpossible(injected) ? [] : found.filter((each) => !isKeptBy(injected, each));
    return { injected, complaints, isOfNode: isOfNode(trap.stderr, end), stderr: trap.stderr };
  });
}

/**
 * qemu-trap was killed: the next start finds its guest again, or no QEMU at all.
 * @param wasStarted false if its QEMU may have been on its way still: that outlives it, as docs/limits.md says
 */
async function startAnew(
  lab: Lab,
  onDeath: 'kill' | 'keep',
  wasStarted: boolean,
): Promise<{ complaints: Complaint[]; stderr: string }> {
  const complaints: Complaint[] = [];
  const qemus = (): number[] => lab.left().filter((pid) => read(`/proc/${pid}/cmdline`).startsWith('qemu-system'));
  if (onDeath === 'kill' && wasStarted) {
    await quietly(until('QEMU has gone with it', () => qemus().length === 0, 10_000));
    if (qemus().length > 0)
      complaints.push({ kind: 'leftover', what: 'QEMU outlived its qemu-trap with --on-death kill' });
  }
  const next = start(lab, [], onDeath);
  const { ended, isOver } = watchEnd(next);
  await quietly(
    until('it has its guest', () => isOver() || (next.events('ready').length > 0 && lab.said('up') > 0), 15_000),
  );
  if (qemus().length > 1) complaints.push({ kind: 'leftover', what: `two QEMUs on one disk: ${qemus().join(' ')}` });
  if (!isOver()) next.child.kill('SIGTERM');
  const end = await within((timeoutS + killAfterS) * 1_000 + 30_000, ended);
  if (end === null) complaints.push({ kind: 'hang', what: 'the next qemu-trap has not ended' });
  else if (end.code !== 0 || lab.said('bye') === 0)
    complaints.push({ kind: 'lost', what: `after a SIGKILL the next one ended with ${end.signal ?? end.code}` });
  return { complaints: [...complaints, ...(await leftovers(lab))], stderr: next.stderr };
}

export interface CallsTally {
  readonly points: number;
  readonly tried: number;
  /** How many of them strace has hit. */
  readonly injected: number;
  readonly count: Count;
  /** What Node itself did not survive, and how often. */
  readonly ofNode: ReadonlyMap<string, number>;
}

/**
 * @param each how many of each kind (errors, slow ones, kills), drawn by `seed`; `null`: all
 * @param tell takes what there is to complain of
 */
export async function failCalls(
  seed: number,
  each: number | null,
  lanes: number,
  tell: (text: string) => void,
): Promise<CallsTally> {
  const points = await findPoints();
  const random = new Random(seed);
  const drawn = <T>(all: readonly T[]): readonly T[] => random.some(all, each);
  const ways: { point: Point; way: Way }[] = [
    ...drawn(points.flatMap((point) => (errors[point.call] ?? []).map((error) => ({ point, way: { error } })))),
    ...drawn(points.map((point) => ({ point, way: 'delay' as const }))),
    ...drawn(points.map((point) => ({ point, way: { killed: 'kill' } as const }))),
    ...drawn(points.map((point) => ({ point, way: { killed: 'keep' } as const }))),
  ];
  const count = new Count();
  const ofNode = new Map<string, number>();
  let injected = 0;
  await inLanes(lanes, ways, async ({ point, way }) => {
    const outcome = await tryPoint(point, way);
    if (outcome.injected !== null) injected++;
    if (outcome.complaints.length === 0) return;
    const name = `${point.call} ${wordsOf(way)}`;
    if (outcome.isOfNode) {
      ofNode.set(name, (ofNode.get(name) ?? 0) + 1);
      tell(
        `of Node: ${name}, call ${point.nth} (${point.about}): ${outcome.stderr.split('\n').find((each) => /Assert|FATAL|rror/.test(each)) ?? ''}`,
      );
      return;
    }
    count.add(outcome.complaints);
    tell(`${name}, call ${point.nth} (${point.about}); hit: ${outcome.injected ?? 'none'}`);
    tell(formatComplaints(outcome.complaints, outcome.stderr));
  });
  return { points: points.length, tried: ways.length, injected, count, ofNode };
}

export function formatCalls(seed: number, { points, tried, injected, count, ofNode }: CallsTally): string {
  const node = [...ofNode].map(([name, times]) => `${name} ${times}`).join(', ') || 'none';
  return `calls, seed ${seed}: ${points} calls of a life; ${tried} refused, slow or fatal, ${injected} of them met\n${count.toString()}\nwhat Node itself does not survive: ${node}`;
}
