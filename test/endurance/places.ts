import { chownSync, copyFileSync, chmodSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { isAlive, type Lab, read, until, withLab } from '../support/lab.js';
import {
  type Complaint,
  Count,
  formatComplaints,
  inLanes,
  judgeLife,
  leftovers,
  quietly,
  watchEnd,
  within,
} from './life.js';
import { type Powers, Random } from './plan.js';

/*
 * Odd places to run in, by pairs: each two values of two factors meet in one life at least.
 */

const descriptors = [
  'null',
  'terminal',
  'background',
  'hung-up',
  'pipe',
  'full-pipe',
  'socket',
  'file',
  'full-disk',
  'closed',
];
const storage = ['usual', 'read-only', 'full', 'noexec'];

/** The first value of each is what everybody has. */
const factors = {
  user: ['root', 'another'],
  proc: ['usual', 'absent', 'subset=pid', 'hidepid=2'],
  run: storage,
  tmp: storage,
  state: storage,
  namespace: ['none', 'user', 'pid', 'net', 'cgroup'],
  environment: ['usual', 'no HOME', 'no PATH', 'odd locale', 'nothing at all'],
  umask: ['022', '0777'],
  limit: ['none', 'descriptors', 'processes', 'file size', 'memory', 'stack'],
  stdin: descriptors,
  stdout: descriptors,
  stderr: ['pipe', ...descriptors.filter((each) => each !== 'pipe')],
  time: ['usual', 'clock jumps', 'stopped beyond its deadline'],
} as const satisfies Readonly<Record<string, readonly string[]>>;
type Factor = keyof typeof factors;
type Place = Readonly<Record<Factor, string>>;
const names = Object.keys(factors) as Factor[];

/**
 * A user namespace knows no other user, and the processes of root are not counted. A Node that cannot load its program,
 * for want of descriptors, says so, and for that such a terminal stops it as it stops every program.
 */
function canBe({ user, namespace, limit, stderr }: Partial<Place>): boolean {
  return (
    !(limit === 'descriptors' && stderr === 'background') &&
    !(namespace === 'user' && (user === 'another' || limit === 'processes')) &&
    !(limit === 'processes' && user === 'root')
  );
}

/** How often a factor that is free has its usual value: if all are odd at once, nothing starts. */
const usual = 0.65;

/** Greedy: of some drawn places the one in which most pairs meet that have not yet met. */
function pairwise(seed: number): Place[] {
  const random = new Random(seed);
  const open = new Set<string>();
  const key = (one: Factor, a: string, two: Factor, b: string): string => `${one}=${a} ${two}=${b}`;
  for (const [i, one] of names.entries())
    for (const two of names.slice(i + 1))
      for (const a of factors[one])
        for (const b of factors[two]) if (canBe({ [one]: a, [two]: b })) open.add(key(one, a, two, b));
  const met = (place: Place): string[] =>
    names
      .flatMap((one, i) => names.slice(i + 1).map((two) => key(one, place[one], two, place[two])))
      .filter((each) => open.has(each));
  const draw = (wanted: string): Place => {
    const fixed = Object.fromEntries(
      [...wanted.matchAll(/(\w+)=(.*?)(?= \w+=|$)/g)].map(([, name, value]) => [name, value]),
    );
    for (;;) {
      const drawn = Object.fromEntries(
        names.map((name) => [
          name,
          fixed[name] ?? (random.chance(usual) ? factors[name][0] : random.one<string>(factors[name])),
        ]),
      );
      if (canBe(drawn)) return drawn as Place;
    }
  };
  const places: Place[] = [];
  while (open.size > 0) {
    const wanted = [...open][random.below(open.size)] as string;
    const [best] = Array.from({ length: 40 }, () => draw(wanted))
      .map((place) => ({ place, covers: met(place) }))
      .sort((a, b) => b.covers.length - a.covers.length);
    if (best === undefined || best.covers.length === 0) throw new Error(`cannot meet: ${wanted}`);
    for (const each of best.covers) open.delete(each);
    places.push(best.place);
  }
  return places;
}

const otherUser = 61_500;
/** The status of a place that this machine cannot make. */
const notMade = 99;
const timeoutS = 8;
const killAfterS = 2;

/** Shell commands that make `directory` what `kind` says. */
function storageWords(kind: string, directory: string, user: string): string[] {
  const owner = user === 'another' ? `,uid=${otherUser},gid=${otherUser}` : '';
  if (kind === 'read-only') return [`mount --bind ${directory} ${directory}`, `mount -o remount,bind,ro ${directory}`];
  if (kind === 'noexec') return [`mount -t tmpfs -o noexec,mode=700${owner} none ${directory}`];
  if (kind === 'full')
    return [
      `mount -t tmpfs -o size=4k,mode=700${owner} none ${directory}`,
      `head -c 4096 /dev/zero >${directory}/full`,
    ];
  return [];
}

function procWords(kind: string): string[] {
  if (kind === 'absent') return ['mount -t tmpfs none /proc'];
  return kind === 'usual' ? [] : [`mount -t proc -o ${kind} proc /proc`];
}

const namespaceWords: Readonly<Record<string, readonly string[]>> = {
  none: [],
  user: ['--user', '--map-root-user'],
  pid: ['--pid', '--fork', '--kill-child', '--mount-proc'],
  net: ['--net'],
  cgroup: ['--cgroup'],
};

function limitWords(kind: string, random: Random): string[] {
  const words: Readonly<Record<string, string>> = {
    descriptors: `--nofile=${16 + random.below(25)}`,
    processes: `--nproc=${4 + random.below(40)}`,
    'file size': `--fsize=${random.one([0, 4_096, 65_536])}`,
    memory: `--data=${(64 + random.below(400)) << 20}`,
    stack: `--stack=${random.one([128, 256, 512]) << 10}`,
  };
  const limit = words[kind];
  return limit === undefined ? [] : ['prlimit', limit];
}

function environmentWords(kind: string): string[] {
  if (kind === 'no HOME') return ['env', '-u', 'HOME'];
  if (kind === 'no PATH') return ['env', '-u', 'PATH'];
  if (kind === 'odd locale') return ['env', 'LC_ALL=tr_TR.UTF-8', 'LANG=xx'];
  return kind === 'nothing at all' ? ['env', '-i'] : [];
}

interface Outcome {
  readonly complaints: readonly Complaint[];
  readonly ending: string;
  readonly stderr: string;
}

function chownAll(path: string, uid: number): void {
  chownSync(path, uid, uid);
  for (const each of readdirSync(path, { recursive: true })) chownSync(join(path, String(each)), uid, uid);
}

/** The process that qemu-trap is, by its program and this lab's run directory. */
function findTrap(lab: Lab, runDir: string): number | undefined {
  return lab.left().find((pid) => {
    const words = read(`/proc/${pid}/cmdline`).split('\0');
    return (
      words[0]?.endsWith('node') === true && words[1]?.endsWith('qemu-trap.cjs') === true && words.includes(runDir)
    );
  });
}

async function liveIn(place: Place, seed: number, powers: Powers): Promise<Outcome> {
  const random = new Random(seed);
  return withLab(async (lab) => {
    const isOther = place.user === 'another';
    const [runAt, stateAt] = [lab.file('r'), lab.file('s')];
    for (const each of [runAt, stateAt]) mkdirSync(each, { mode: 0o700 });
    const runDir = join(runAt, 'run');
    const clockFile = lab.file('clock');
    writeFileSync(clockFile, Buffer.alloc(8));
    // Another user may not reach the project's folder, and a place may hide it: it may be in /tmp.
    const copy = lab.ownCopy();
    const guest = lab.guest();
    guest[0] = '/usr/bin/qemu-system-x86_64';
    if (powers.clock !== null) copyFileSync(powers.clock, lab.file('clock.so'));
    if (isOther) chownAll(lab.dir, otherUser);
    chmodSync(lab.dir, 0o755);
    const log = lab.file('stderr');
    writeFileSync(log, '');
    chmodSync(log, 0o666);

    const clock =
      place.time === 'clock jumps' && powers.clock !== null
        ? ['env', `LD_PRELOAD=${lab.file('clock.so')}`, `ENDURANCE_CLOCK=${clockFile}`]
        : [];
    const prepare = [
      ...storageWords(place.run, runAt, place.user),
      ...storageWords(place.state, stateAt, place.user),
      ...storageWords(place.tmp, '/tmp', place.user),
      ...procWords(place.proc),
      `umask ${place.umask}`,
    ].join(' && ');
    const through = [
      ...['python3', resolve('test/endurance/place.py'), log, place.stdin, place.stdout, place.stderr],
      ...['unshare', '--mount', '--propagation', 'private', ...(namespaceWords[place.namespace] ?? [])],
      ...['sh', '-c', `{ ${prepare}; } 2>/dev/null || exit ${notMade}; exec "$@"`, 'sh'],
      ...(isOther ? ['setpriv', '--reuid', String(otherUser), '--regid', String(otherUser), '--clear-groups'] : []),
      ...limitWords(place.limit, random),
      ...environmentWords(place.environment),
      // The mark by which the test finds what it has to clear away.
      ...['/usr/bin/env', lab.mark],
      ...clock,
    ];
    const trap = lab.start({
      through,
      program: copy,
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { TMPDIR: undefined },
      command: guest,
      options: [
        ...['--run-dir', runDir, '--state-dir', join(stateAt, 'state')],
        ...['--timeout', String(timeoutS), '--kill-after', String(killAfterS), '--press', '1'],
      ],
    });
    const { ended, isOver } = watchEnd(trap);
    await quietly(until('its guest is up', () => isOver() || lab.said('up') > 0, 15_000));
    const jumping = (async () => {
      if (clock.length === 0) return;
      for (const seconds of [3_600n, -3_600n, 0n]) {
        const offset = Buffer.alloc(8);
        offset.writeBigInt64LE(seconds);
        writeFileSync(clockFile, offset, { flag: 'r+' });
        await new Promise((resume) => setTimeout(resume, 100));
      }
    })();
    const pid = isOver() ? undefined : findTrap(lab, runDir);
    if (pid !== undefined) {
      process.kill(pid, 'SIGTERM');
      if (place.time === 'stopped beyond its deadline') {
        process.kill(pid, 'SIGSTOP');
        await new Promise((resume) => setTimeout(resume, (timeoutS + killAfterS + 1) * 1_000));
        if (isAlive(pid)) process.kill(pid, 'SIGCONT');
      }
    }
    await jumping;
    const end = await within((timeoutS + killAfterS) * 1_000 + 30_000, ended);
    if (end?.code === notMade) return { complaints: [], ending: 'cannot be made here', stderr: read(log) };
    // A file may be at its limit; another user's pipe or terminal takes a process to write to.
    const isReadable =
      ['pipe', 'terminal', 'socket', 'file'].includes(place.stderr) &&
      !(place.stderr === 'file' && place.limit === 'file size') &&
      !(isOther && place.limit === 'processes');
    const stderr = read(log);
    const life = { end, serial: read(lab.serial), stderr: isReadable ? `${stderr}${trap.stderr}` : null };
    const complaints = [...judgeLife(life, { refusal: true, cutOff: false }), ...(await leftovers(lab, runDir))];
    const ending =
      end === null ? 'hangs' : life.serial === '' ? `refused, ${end.signal ?? end.code}` : `${end.signal ?? end.code}`;
    return { complaints, ending, stderr: `${stderr}${trap.stderr}` };
  });
}

export interface PlacesTally {
  readonly places: number;
  readonly endings: ReadonlyMap<string, number>;
  readonly count: Count;
}

function describePlace(place: Place): string {
  const odd = names.filter((name) => place[name] !== factors[name][0]).map((name) => `${name}: ${place[name]}`);
  return odd.join('; ') || 'nothing unusual';
}

/**
 * @param each how many, drawn by `seed`; `null`: all that are needed for each pair
 * @param only the number of one; `null`: all
 * @param isLoud a line is told of each
 */
export async function liveInPlaces(
  seed: number,
  each: number | null,
  only: number | null,
  lanes: number,
  powers: Powers,
  isLoud: boolean,
  tell: (text: string) => void,
): Promise<PlacesTally> {
  const all = pairwise(seed).map((place, number) => ({ place, number }));
  const drawn = new Random(seed + 1).some(all, each).filter(({ number }) => only === null || number === only);
  const count = new Count();
  const endings = new Map<string, number>();
  // A place may have another /tmp: what a life needs must not lie there.
  const usualTmp = process.env['TMPDIR'];
  process.env['TMPDIR'] = '/var/tmp';
  await inLanes(lanes, drawn, async ({ place, number }) => {
    const { complaints, ending, stderr } = await liveIn(place, seed + number, powers);
    count.add(complaints);
    endings.set(ending, (endings.get(ending) ?? 0) + 1);
    const name = `place ${number} (${describePlace(place)}) -> ${ending}`;
    if (isLoud) tell(`${name}: ${stderr.split('\n')[0]?.slice(0, 200)}`);
    if (complaints.length > 0) tell(`${name}\n${formatComplaints(complaints, stderr)}`);
  });
  if (usualTmp === undefined) delete process.env['TMPDIR'];
  else process.env['TMPDIR'] = usualTmp;
  return { places: drawn.length, endings, count };
}

export function formatPlaces(seed: number, { places, endings, count }: PlacesTally): string {
  const ends = [...endings].sort((a, b) => b[1] - a[1]).map(([what, times]) => `${what}: ${times}`);
  return `places, seed ${seed}: ${places}\n${count.toString()}\nendings: ${ends.join('; ')}`;
}
