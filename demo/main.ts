import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { createConnection } from 'node:net';
import { createInterface } from 'node:readline';
import minimist from 'minimist';
import { bootSector, guestSays } from '../src/commands/try/guest.js';
import { Timeline, type Moment } from '../src/commands/try/timeline.js';
import { draw } from './picture.js';

/*
 * The main job, shown: SIGTERM to a real QEMU under qemu-trap, and the same SIGTERM to a bare one. `--svg FILE` draws it.
 */

const { svg } = minimist(process.argv.slice(2), { string: ['svg'] });
const dir = mkdtempSync(join(tmpdir(), 'qemu-trap-demo-'));
const image = join(dir, 'guest.img');
writeFileSync(image, bootSector());
const qemu = [
  'qemu-system-x86_64',
  '-name',
  'demo',
  '-M',
  'pc',
  '-m',
  '16',
  '-display',
  'none',
  '-net',
  'none',
  '-serial',
  'stdio',
  '-drive',
  `file=${image},format=raw,snapshot=on`,
];
const patienceMs = 60_000;

/** Events of qemu-trap's log that the timeline shows, in words for people. */
const shown: Readonly<Record<string, (line: Record<string, unknown>) => string>> = {
  start: () => 'QEMU started',
  'hook-end': (line) => `the hook ${basename(String(line['hook']))} succeeded`,
};

/** What the guest says, in words for people. */
const guestWords: Readonly<Record<string, string>> = {
  [guestSays.up]: 'up',
  [guestSays.pressed]: 'hears its power button',
  [guestSays.bye]: 'bye: shuts down',
};

/**
 * QEMU's own events, on a monitor of the demo's, at QEMU's own time.
 * @param begun is called when no event can be missed any more
 */
function tellEvents(path: string, tell: (who: string, what: string, time: number) => void, begun: () => void): void {
  const socket = createConnection(path);
  socket.on('error', () => undefined);
  // Either may fail as QEMU exits: there is nothing more to tell then.
  const lines = createInterface(socket).on('error', () => undefined);
  lines.on('line', (line) => {
    const message = JSON.parse(line) as {
      readonly QMP?: unknown;
      readonly return?: unknown;
      readonly event?: string;
      readonly data?: { readonly reason?: string };
      readonly timestamp?: { readonly seconds: number; readonly microseconds: number };
    };
    if (message.QMP !== undefined) socket.write('{"execute":"qmp_capabilities"}\n');
    if (message.return !== undefined) begun();
    if (message.timestamp === undefined) return;
    const time = message.timestamp.seconds * 1_000 + message.timestamp.microseconds / 1_000;
    if (message.event === 'POWERDOWN') tell('QEMU', 'POWERDOWN: the power button is pressed', time);
    if (message.event === 'SHUTDOWN') tell('QEMU', `SHUTDOWN: ${message.data?.reason}`, time);
  });
}

interface Outcome {
  readonly status: number | null;
  readonly heard: boolean;
  readonly moments: readonly Moment[];
}

/** Runs `command` with the guest in it, sends SIGTERM once the guest is up, and tells what happens when. */
async function show(command: readonly string[]): Promise<Outcome> {
  const monitor = join(dir, 'qmp');
  const timeline = new Timeline((line) => void writeSync(1, line));
  const tell = (who: string, what: string, time?: number): void => timeline.tell(who, what, time);
  const [program = '', ...args] = [...command, '-qmp', `unix:${monitor},server=on,wait=off`];
  const child: ChildProcess = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const giveUp = setTimeout(() => child.kill('SIGKILL'), patienceMs);
  let heard = false;
  if (child.stdout) {
    createInterface(child.stdout).on('line', (line) => {
      const words = line.trim();
      const shownWords = guestWords[words];
      if (shownWords === undefined) return;
      tell('guest', shownWords);
      if (words === guestSays.pressed) heard = true;
      if (words === guestSays.up) {
        tellEvents(monitor, tell, () => {
          tell('you', `kill -TERM ${child.pid}`);
          child.kill('SIGTERM');
        });
      }
    });
  }
  if (child.stderr) {
    createInterface(child.stderr).on('line', (line) => {
      let event: Record<string, unknown>;
      try {
        event = JSON.parse(line) as Record<string, unknown>;
      } catch {
        return tell('QEMU', line.replace(/^qemu-system-\w+: | from pid.*/g, ''));
      }
      const words = shown[String(event['event'])];
      const time = Date.parse(String(event['time']));
      if (words) tell('qemu-trap', words(event), time);
      else if (event['event'] === 'exit')
        tell('qemu-trap', String(event['message']).replace(/^SIGTERM: | \(.*|;.*/g, ''), time);
    });
  }
  const status = await new Promise<number | null>((done, fail) => {
    child.on('error', fail);
    child.on('close', done);
  });
  clearTimeout(giveUp);
  tell('exit', `status ${status}`);
  timeline.flush();
  return { status, heard, moments: timeline.moments };
}

/** A guest's words come through a pipe, and may be late: they were said before QEMU said that the guest is off. */
function inTurn(moments: readonly Moment[]): Moment[] {
  const off = moments.find(({ what }) => what.startsWith('SHUTDOWN'))?.at ?? Infinity;
  const rank = ({ who, what }: Moment): number => (what.startsWith('SHUTDOWN') ? 2 : who === 'guest' ? 1 : 0);
  return moments
    .map((moment) => (moment.who === 'guest' ? { ...moment, at: Math.min(moment.at, off) } : moment))
    .sort((a, b) => a.at - b.at || rank(a) - rank(b));
}

try {
  console.log('SIGTERM to QEMU under qemu-trap, with the bundled hooks:\n');
  const trapped = await show([
    process.execPath,
    resolve('dist/qemu-trap.cjs'),
    '--hooks',
    resolve('hooks'),
    '--log',
    'json',
    '--run-dir',
    join(dir, 'run'),
    '--state-dir',
    join(dir, 'state'),
    '--',
    ...qemu,
  ]);
  console.log('\nThe same SIGTERM to a bare QEMU:\n');
  const bare = await show(qemu);
  const works = trapped.heard && trapped.status === 0 && !bare.heard;
  console.log(
    works
      ? '\nUnder qemu-trap the guest heard its power button and shut down. The guest of the bare QEMU heard nothing:\nto a real one that is a power failure.'
      : '\nThis is not what the demo should show.',
  );
  if (svg) {
    writeFileSync(
      svg,
      draw([
        {
          title: 'QEMU under qemu-trap',
          moments: inTurn(trapped.moments),
          outcome: 'The guest heard its power button, and shut down.',
          isGood: trapped.heard,
        },
        {
          title: 'Bare QEMU',
          moments: inTurn(bare.moments),
          outcome: 'The guest heard nothing: to it that is a power failure.',
          isGood: bare.heard,
        },
      ]),
    );
  }
  process.exitCode = works ? 0 : 1;
} finally {
  rmSync(dir, { recursive: true, force: true });
}
