import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, openSync, readdirSync, rmSync, writeSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { join } from 'node:path';
import { isAlive, type Trap } from '../support/lab.js';
import type { Day } from './day.js';
import { Random, type Fault } from './plan.js';

/*
 * What goes wrong on a bad day, done to its VM.
 */

/** What is made in it meanwhile is removed too, within reason. */
function remove(directory: string): void {
  for (let tries = 0; tries < 20 && existsSync(directory); tries++) {
    try {
      rmSync(directory, { recursive: true, force: true });
    } catch {
      // Something has just been put there.
    }
  }
}

/** Does what `fault` says; what it needs may not be there, and then nothing is injected. */
export async function inject(day: Day, fault: Fault, trap: Trap): Promise<void> {
  const random = new Random(fault.seed);
  const done = (): void => void day.injected.push(fault.kind);
  const stopFor = async (pids: readonly number[]): Promise<void> => {
    const stopped = pids.filter((pid) => day.send(pid, 'SIGSTOP'));
    if (stopped.length === 0) return;
    done();
    await new Promise((resolve) => setTimeout(resolve, fault.lasts));
    for (const pid of stopped) day.send(pid, 'SIGCONT');
  };
  const sendAll = (pids: readonly number[], signal: NodeJS.Signals): void => {
    for (const pid of pids) if (day.send(pid, signal)) done();
  };
  const isUp = isAlive(trap.pid);
  if (!isUp && fault.kind !== 'remove-hooks') return;
  switch (fault.kind) {
    case 'kill-hook':
      return sendAll(day.processes().hooks, 'SIGKILL');
    case 'stop-hook':
      // For good: qemu-trap has to end what does not move.
      return sendAll(day.processes().hooks, 'SIGSTOP');
    case 'stop-trap':
      return stopFor([trap.pid]);
    case 'kill-trap':
      return sendAll([trap.pid], 'SIGKILL');
    case 'stop-qemu':
      return stopFor(day.processes().qemu);
    case 'kill-qemu':
      return sendAll(day.processes().qemu, 'SIGKILL');
    case 'hang-qemu':
      return sendAll(day.processes().qemu, 'SIGSTOP');
    case 'fill-disk':
      return fillDisk(day, done);
    case 'few-files':
      return limit(day, trap.pid, `--nofile=${22 + random.below(12)}:`, done);
    case 'few-processes':
      return limit(day, trap.pid, '--nproc=0:', done);
    case 'remove-run-dir':
      remove(day.runDir);
      return done();
    case 'remove-hooks':
      remove(day.lab.hooks);
      return done();
    case 'remove-socket': {
      const sockets = existsSync(day.runDir) ? readdirSync(day.runDir).filter((name) => name.endsWith('.sock')) : [];
      if (sockets.length === 0) return;
      rmSync(join(day.runDir, random.one(sockets)), { force: true });
      return done();
    }
    case 'storm':
      for (let i = 0; i < 2_000; i++)
        day.send(
          trap.pid,
          random.one([
            'SIGUSR1',
            'SIGUSR2',
            'SIGWINCH',
            'SIGALRM',
            'SIGCONT',
            'SIGPROF',
            ...(fault.from === 'stop' ? [day.plan.stop] : []),
          ]),
        );
      return done();
    case 'rubbish':
    case 'hold-monitors':
      return dialMonitors(day, random, fault.kind === 'rubbish', done);
    case 'set-clock':
      for (let i = 0; i < 5; i++) {
        day.setClock(random.one([864_000, -864_000, 3_600, -3_600, 3, -3, 0]));
        await new Promise((resolve) => setTimeout(resolve, fault.lasts / 5));
      }
      return done();
    case 'second-stop':
      return sendAll([trap.pid], random.one(['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGPWR']));
    case 'quit':
      return sendAll([trap.pid], 'SIGQUIT');
  }
}

/** As the user whose process it is: root may lack the right to change another's limits (CAP_SYS_RESOURCE). */
function limit(day: Day, pid: number, what: string, done: () => void): void {
  const [command = '', ...words] = [...day.asUser, 'prlimit', '--pid', String(pid), what];
  if (spawnSync(command, words).status === 0) done();
}

function fillDisk(day: Day, done: () => void): void {
  const base = day.lab.file('small');
  try {
    for (let i = 0; ; i++) {
      const fd = openSync(join(base, `full-${i}`), 'w');
      try {
        if (i === 0) for (;;) writeSync(fd, Buffer.alloc(4_096));
      } catch {
        // This one is full; the rest take the inodes.
      } finally {
        closeSync(fd);
      }
    }
  } catch {
    done();
  }
}

/** Sits on the spare monitors, as a script that hangs would, or talks nonsense to them. */
function dialMonitors(day: Day, random: Random, talks: boolean, done: () => void): void {
  for (const name of ['qmp.sock', 'monitor.sock', 'hook-late.sock']) {
    const path = join(day.runDir, name);
    if (!existsSync(path)) continue;
    const socket: Socket = createConnection(path);
    socket.on('error', () => undefined);
    socket.resume();
    // No letters to the human monitor: one alone may be a command there, such as s for stop.
    const byte = (): number =>
      name === 'monitor.sock' && random.chance(0.95)
        ? 128 + random.below(128)
        : name === 'monitor.sock'
          ? 0x0a
          : random.below(256);
    if (talks)
      for (let i = 0; i < 20; i++) socket.write(Buffer.from(Array.from({ length: 1 + random.below(3_000) }, byte)));
    day.undo.push(() => socket.destroy());
    done();
  }
}
