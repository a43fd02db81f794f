import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { spawn } from '../system/spawn.js';
import { hookOutcome, type HookOutcome } from '../outcome/hook-outcome.js';
import { endDescendants } from './descendants.js';
import { hookEnvironment, runIdPrefix, randomDigits, type HookFacts } from './environment.js';
import { checkTrust } from './trust.js';
import type { HookFile } from './find.js';
import { closePipe, readerOf, type OutputPipe } from './output-pipes.js';
import type { HookGroups } from './hook-groups.js';
import { startTimer } from '../system/timer.js';

/** How long the last output of a hook that has exited is waited for, if something of it still holds the pipe. */
const lastOutputMs = 200;

export interface HookProcess {
  /** `undefined` if the hook could not be run. */
  readonly pid: number | undefined;
  /** Settled once, when the hook itself has been reaped or could not be run; never rejected. */
  readonly ended: Promise<HookOutcome>;
  /** Settled when nothing that the hook started is left; begins when it exits, or with {@link HookProcess.stop}. */
  readonly cleared: Promise<void>;
  /** Stops the hook and all it started. */
  stop(): void;
}

interface HookCall {
  readonly file: HookFile;
  /** What it is called with: the signal's name, say. */
  readonly argument: string;
  readonly facts: Omit<HookFacts, 'runId' | 'hook'>;
  readonly inherited: NodeJS.ProcessEnv;
  /** Its stdin; `null`: there is nothing to read. */
  readonly input: number | null;
  /** A connection to a monitor, in blocking mode, greeting unread: the hook's fd 3. `null` if no QEMU is there. */
  readonly monitor: Socket | null;
  /** Closed at the end of the run; `null`: Node's own kind of pipe. */
  readonly output: OutputPipe | null;
  readonly groups: HookGroups;
  /** Called with nothing at the end of it. */
  readonly onOutput: (chunk: Buffer) => void;
}

/** Words for an error of execve(2) or fork(2). */
function describeSpawnError(error: NodeJS.ErrnoException): string {
  switch (error.code) {
    case 'ENOENT':
      return 'cannot be run: it, or the interpreter in its first line, does not exist';
    case 'EACCES':
      return 'cannot be run: permission denied';
    case 'ETXTBSY':
      return 'cannot be run: another process has it open for writing (ETXTBSY)';
    default:
      return `cannot be run (${error.code ?? error.message})`;
  }
}

/** Starts a hook as the contract says: directly, in a group of its own, the monitor on fd 3, its output to the log. */
export function startHook(call: HookCall): HookProcess {
  const { file, output } = call;
  const { path } = file;
  const notRun = (why: string): HookProcess => {
    if (output !== null) closePipe(output);
    return {
      pid: undefined,
      ended: Promise.resolve({ kind: 'failed', why }),
      cleared: Promise.resolve(),
      stop: () => undefined,
    };
  };
  const trust = checkTrust(path, file.ours);
  if (!trust.trusted) return notRun(`cannot be run: ${trust.what} (fix: ${trust.fix})`);

  const runId = runIdPrefix + randomDigits();
  const env = hookEnvironment({ ...call.facts, hook: path, runId }, call.inherited);
  call.groups.prepare();
  const startedAt = performance.now();
  let child: ReturnType<typeof spawn>;
  try {
    child = spawn(path, [call.argument], {
      detached: true,
      stdio: [
        call.input ?? 'ignore',
        output?.writer ?? 'pipe',
        output?.writer ?? 'pipe',
        ...(call.monitor === null ? [] : [call.monitor]),
      ],
      env,
    });
  } catch (error) {
    return notRun(describeSpawnError(error as NodeJS.ErrnoException));
  }
  const { pid } = child;
  const outputs: Readable[] = [];
  const read = (): void => {
    clearImmediate(reading);
    if (outputs.length > 0) return;
    if (output !== null) outputs.push(readerOf(output));
    for (const stream of [child.stdout, child.stderr]) if (stream) outputs.push(stream);
    for (const stream of outputs) stream.on('data', call.onOutput).on('error', () => undefined);
  };
  // After what else this turn has to do.
  const reading = setImmediate(read);

  let running = pid !== undefined;
  const ended = new Promise<HookOutcome>((resolve) => {
    child.on('error', (error) => {
      if (pid === undefined) resolve({ kind: 'failed', why: describeSpawnError(error) });
    });
    child.on('exit', (code, killedBy) => {
      running = false;
      resolve(hookOutcome(code, killedBy));
    });
  });
  if (pid === undefined) {
    read();
    return { pid, ended, cleared: ended.then(() => undefined), stop: () => undefined };
  }

  const group = call.groups.take(pid);
  let clearing: Promise<void> | null = null;
  const clear = (): Promise<void> =>
    (clearing ??= endDescendants({ pid, runId, startedAt, group, running: () => running }));
  const cleared = ended.then(clear).then(async () => {
    read();
    const closed = outputs.map((stream) =>
      stream.closed ? undefined : new Promise<void>((resolve) => stream.once('close', () => resolve())),
    );
    const timer = startTimer(lastOutputMs, () => {
      for (const stream of outputs) stream.destroy();
    });
    await Promise.all(closed);
    timer.cancel();
    call.onOutput(Buffer.alloc(0));
  });
  return {
    pid,
    ended,
    cleared,
    stop: () => void clear(),
  };
}
