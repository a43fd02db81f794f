import { spawn, spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { environment, pause, setClock, wallClock } from './clock.js';
import {
  bare,
  bash,
  bashNc,
  bashSocat,
  bundledHook,
  dumbInit,
  floor,
  inProcess,
  libvirt,
  runit,
  tini,
  userHook,
  type Contender,
} from './contenders.js';
import { busyMs, memory, processorMs, switches, threads } from './proc.js';
import { Samples, median, type Table } from './table.js';
import { Vm } from './vm.js';

/** How long everything is left alone before a signal: what a start has still to do must not be measured with it. */
const settleMs = 500;

/** In another order each time: who comes after whom, and on which processor, is worth a third of these figures. */
export function shuffled<T>(all: readonly T[]): T[] {
  return all
    .map((each) => ({ each, rank: Math.random() }))
    .sort((a, b) => a.rank - b.rank)
    .map(({ each }) => each);
}

/** Runs `use` with `count` VMs of one contender's whose guests are up, one started after the other. */
async function withVms<T>(contender: Contender, count: number, use: (vms: readonly Vm[]) => Promise<T>): Promise<T> {
  const vms: Vm[] = [];
  try {
    for (let i = 0; i < count; i++) {
      const vm = new Vm(contender);
      vms.push(vm);
      await vm.guestIsUp();
    }
    return await use(vms);
  } finally {
    await Promise.all(vms.map((vm) => vm.clear()));
  }
}

/** One VM alone is told to stop, its keeper's first signal: until QEMU's own POWERDOWN, and until all of it has exited. */
export async function oneStop(rounds: number): Promise<readonly Table[]> {
  const contenders = [floor, inProcess, userHook, bundledHook, bashSocat, bashNc, runit, libvirt];
  const names = contenders.map(({ name }) => name);
  const pressed = new Samples(...names);
  const over = new Samples(inProcess.name);
  for (let round = 0; round < rounds; round++) {
    for (const contender of shuffled(contenders)) {
      await withVms(contender, 1, async ([vm]) => {
        await pause(settleMs);
        setClock();
        const sent = wallClock();
        vm?.keeper.stop();
        pressed.add(contender.name, ((await vm?.pressed()) ?? NaN) - sent);
        const end = (await vm?.over()) ?? NaN;
        // libvirt's command has exited long before the guest, and runsv stays.
        if (contender !== libvirt && contender !== runit) over.add(contender.name, end - sent);
      });
    }
  }
  return [
    { title: "From SIGTERM to POWERDOWN, a process's first signal", unit: 'ms', rows: pressed.rows },
    { title: 'One stop alone, from SIGTERM to the exit', unit: 'ms', rows: over.rows },
  ];
}

/** What stands in front of QEMU adds to its start, from exec to its monitor's answer; and what Node needs to start at all. */
export async function start(rounds: number): Promise<Table> {
  const over = new Samples('node -e 0');
  const alone: number[] = [];
  for (let round = 0; round < rounds; round++) {
    let first = NaN;
    for (const contender of [bare, inProcess, dumbInit, tini, bash]) {
      const vm = new Vm(contender);
      try {
        const ms = await vm.answers();
        if (contender === bare) alone.push((first = ms));
        else over.add(contender === inProcess ? 'qemu-trap' : contender.name, ms - first);
      } finally {
        await vm.clear();
      }
    }
    const began = performance.now();
    spawnSync(process.execPath, ['-e', '0'], { env: environment() });
    over.add('node -e 0', performance.now() - began);
  }
  return {
    title: 'Start: what is added to that of QEMU alone',
    unit: 'ms',
    rows: over.rows,
    note: `QEMU alone answers after ${Samples.median(alone).toFixed(0)} ms`,
  };
}

/** A Node that holds one socket and does nothing: the least that a program for Node costs. */
function idleNode(): { readonly pid: number; end(): void } {
  const child = spawn(
    process.execPath,
    ['-e', "require('node:net').createServer().listen('\\0qemu-trap-bench-' + process.pid)"],
    { stdio: 'ignore', env: environment() },
  );
  return { pid: child.pid as number, end: () => void child.kill('SIGKILL') };
}

/** How long after its start something is idle: V8 collects the garbage of a start after eight quiet seconds, or after a hundred (memory-reducer.h). */
const idleAfterMs = 110_000;

/**
 * What one of `many` idle ones costs, and how often its threads woke up in `ms` milliseconds. What is private is told by
 * one of many, too: of one alone, the pages of the program's own file would count as private.
 */
export async function idle(many: number, ms: number, libvirtd: number): Promise<readonly Table[]> {
  const [own, shared, woken, each] = [new Samples(), new Samples(), new Samples(), new Samples()];
  const measure = async (name: string, pids: readonly number[]): Promise<void> => {
    await pause(idleAfterMs);
    const before = pids.map(switches);
    await pause(ms);
    woken.add(name, Math.max(...pids.map((pid, i) => switches(pid) - (before[i] ?? 0))));
    shared.add(name, ...pids.map((pid) => memory(pid, 'Pss')));
    own.add(name, ...pids.map((pid) => memory(pid, 'Private')));
    each.add(name, ...pids.map(threads));
  };
  const nodes = Array.from({ length: many }, idleNode);
  await measure(
    'node, one socket',
    nodes.map(({ pid }) => pid),
  );
  for (const node of nodes) node.end();
  for (const contender of [bundledHook, bashSocat, dumbInit, tini]) {
    const name = contender === bundledHook ? 'qemu-trap' : contender.name;
    await withVms(contender, many, (vms) =>
      measure(
        name,
        vms.map(({ keeper }) => keeper.pid ?? 0),
      ),
    );
  }
  const before = memory(libvirtd, 'Pss');
  await withVms(libvirt, many, async () => {
    await pause(idleAfterMs);
    shared.add("libvirtd's share", memory(libvirtd, 'Pss') / many);
    const wakes = switches(libvirtd);
    await pause(ms);
    woken.add('libvirtd, for all', switches(libvirtd) - wakes);
  });
  return [
    { title: 'Private memory of an idle one', unit: 'MiB', rows: own.rows },
    {
      title: `Proportional memory of one of ${many} idle ones`,
      unit: 'MiB',
      rows: shared.rows,
      note: `libvirtd without a guest: ${before.toFixed(1)} MiB`,
    },
    { title: `Wake-ups of an idle one in ${ms / 1_000} s, the most of ${many}`, unit: '', rows: woken.rows },
    { title: 'Threads', unit: '', rows: each.rows },
  ];
}

/** Processor time of this process, in milliseconds. */
function ownMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}

/** How the time to the last exit grows with the number of guests: in milliseconds for each of them. */
export function curve(tables: readonly Table[]): Table {
  const lasts = tables.filter(({ title }) => title.endsWith('to the last exit'));
  const rows = [bashSocat, inProcess, userHook, bundledHook].map(({ name }) => ({
    name,
    samples: lasts.map(
      ({ title, rows: all }) => median(all.find((row) => row.name === name)) / Number.parseInt(title, 10),
    ),
  }));
  const counts = lasts.map(({ title }) => Number.parseInt(title, 10)).join(', ');
  return { title: `To the last exit, for each of ${counts} guests`, unit: 'ms', rows };
}

/** A host's shutdown: all told to stop at once. */
export async function manyAtOnce(guests: number, rounds: number): Promise<readonly Table[]> {
  const names = [...[bashSocat, inProcess, userHook, bundledHook].map(({ name }) => name), 'libvirt-guests'];
  const [pressed, over, spent] = [new Samples(...names), new Samples(...names), new Samples(...names)];
  const measure = async (
    contender: Contender,
    name: string,
    stopAll: (vms: readonly Vm[]) => Promise<unknown>,
  ): Promise<void> =>
    withVms(contender, guests, async (vms) => {
      await pause(settleMs);
      setClock();
      const [sent, busy, own] = [wallClock(), busyMs(), ownMs()];
      const stopped = stopAll(vms);
      pressed.add(name, Math.max(...(await Promise.all(vms.map((vm) => vm.pressed())))) - sent);
      await stopped;
      over.add(name, Math.max(...(await Promise.all(vms.map((vm) => vm.over())))) - sent);
      spent.add(name, (busyMs() - busy - (ownMs() - own)) / guests);
    });
  const signalAll = async (vms: readonly Vm[]): Promise<void> => {
    for (const { keeper } of vms) keeper.stop();
  };
  const libvirtGuests = (): Promise<unknown> => {
    // Its list of what ran at the last stop: where that is still there, it stops nothing.
    rmSync('/var/lib/libvirt/libvirt-guests', { force: true });
    const child = spawn('/usr/lib/libvirt/libvirt-guests.sh', ['stop'], { stdio: 'ignore', env: environment() });
    return new Promise((settle) => child.once('exit', settle));
  };
  for (let round = 0; round < rounds; round++) {
    for (const contender of shuffled([bashSocat, inProcess, userHook, bundledHook, libvirt])) {
      await (contender === libvirt
        ? measure(libvirt, 'libvirt-guests', libvirtGuests)
        : measure(contender, contender.name, signalAll));
    }
  }
  return [
    { title: `${guests} guests at once, to the last POWERDOWN`, unit: 'ms', rows: pressed.rows },
    { title: `${guests} guests at once, to the last exit`, unit: 'ms', rows: over.rows },
    {
      title: `${guests} guests at once, processor time of one stop`,
      unit: 'ms',
      rows: spent.rows,
      note: 'of all processes, QEMU and its guest among them, but for the benchmark itself',
    },
  ];
}

/** Signals that no rule knows, as fast as they can be sent, and the one that counts among them. */
export async function storm(signals: number): Promise<readonly Table[]> {
  const [spent, held] = [new Samples(), new Samples()];
  await withVms(bundledHook, 1, async ([vm]) => {
    const pid = vm?.keeper.pid ?? 0;
    await pause(settleMs);
    held.add('before', memory(pid, 'Private'));
    const began = processorMs(pid);
    for (let i = 0; i < signals; i++) process.kill(pid, 'SIGUSR1');
    await pause(idleAfterMs);
    spent.add('qemu-trap', processorMs(pid) - began);
    held.add('after', memory(pid, 'Private'));
    vm?.keeper.stop();
    await vm?.pressed();
    await vm?.over();
  });
  return [
    { title: `A storm of ${signals} signals: processor time`, unit: 'ms', rows: spent.rows },
    { title: `Private memory before and after that storm`, unit: 'MiB', rows: held.rows },
  ];
}
