import { closeSync, constants, openSync, unlinkSync } from 'node:fs';
import { Socket } from 'node:net';
import { runFiles } from '../run-dir/files.js';
import { spawn } from '../system/spawn.js';
import { within } from '../system/timer.js';
import { helperEnvironment } from '../system/own-environment.js';

/*
 * What Node calls a pipe to a child is a socket, and a script that writes to /dev/stderr by that name is refused
 * (ENXIO of open(2)). A named pipe, unlinked as soon as both its ends are open, is a pipe as a shell would make it.
 */

/** Enough for a few hooks side by side, or steps one right after the other. */
const spares = 4;
/** How long a hook waits for a pipe that is being made, in milliseconds. */
const patienceMs = 500;

/** A hook's stdout and stderr, both in one, in the order they were written in. */
export interface OutputPipe {
  /** For the hook. */
  readonly writer: number;
  readonly reader: number;
}

function quietlyClose(fd: number): void {
  try {
    closeSync(fd);
  } catch {
    // Closed already.
  }
}

/** The reading end, when the hook has been started: a stream that ends with the last writer. */
export function readerOf(pipe: OutputPipe): Socket {
  quietlyClose(pipe.writer);
  return new Socket({ fd: pipe.reader, readable: true, writable: false });
}

export function closePipe(pipe: OutputPipe): void {
  quietlyClose(pipe.reader);
  quietlyClose(pipe.writer);
}

/** Pipes made ahead: at a signal they are there, whatever has become of the run directory. */
export class OutputPipes {
  readonly #ready: OutputPipe[] = [];
  #making: Promise<void> | null = null;
  #made = 0;
  #closed = false;

  /** @param file gives the path of a file in the run directory */
  constructor(private readonly file: (name: string) => string) {
    void this.#refill();
  }

  /** Takes a pipe back that no hook has had. */
  putBack(pipe: OutputPipe): void {
    if (this.#closed) closePipe(pipe);
    else this.#ready.unshift(pipe);
  }

  /** @returns `null` if none is ready */
  takeReady(): OutputPipe | null {
    const pipe = this.#ready.shift() ?? null;
    if (this.#ready.length < spares / 2) setImmediate(() => void this.#refill());
    return pipe;
  }

  /** @returns `null` if there is none in time, and Node's own kind has to do */
  async take(): Promise<OutputPipe | null> {
    if (this.#ready.length === 0) await within(patienceMs, this.#refill());
    return this.takeReady();
  }

  /** @returns settled when nothing of it can come to lie in the run directory any more */
  async close(): Promise<void> {
    this.#closed = true;
    for (const pipe of this.#ready.splice(0)) closePipe(pipe);
    await this.#making;
  }

  #refill(): Promise<void> {
    if (this.#closed || this.#ready.length >= spares) return Promise.resolve();
    return (this.#making ??= this.#make().finally(() => (this.#making = null)));
  }

  #make(): Promise<void> {
    const paths = Array.from({ length: spares - this.#ready.length }, () =>
      this.file(runFiles.output(this.#made++ % (2 * spares))),
    );
    const making = new Promise<void>((resolve) => {
      const child = spawn('mkfifo', ['-m', '600', ...paths], {
        stdio: ['ignore', 'ignore', 'ignore'],
        env: helperEnvironment(process.env),
        detached: true,
      });
      child.on('error', () => resolve());
      child.on('exit', () => resolve());
    });
    return making.then(
      () => {
        for (const path of paths) this.#open(path);
      },
      () => undefined,
    );
  }

  #open(path: string): void {
    let reader: number | null = null;
    try {
      reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
      const pipe = { reader, writer: openSync(path, constants.O_WRONLY) };
      if (this.#closed) closePipe(pipe);
      else this.#ready.push(pipe);
    } catch {
      if (reader !== null) quietlyClose(reader);
    }
    try {
      unlinkSync(path);
    } catch {
      // mkfifo(1) has not made it.
    }
  }
}
