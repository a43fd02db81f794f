import type { Duplex } from 'node:stream';
import { lineSplitter } from './lines.js';
import { MonitorClosed, readMessage, type QmpEvent } from './messages.js';

interface Pending {
  /** @param at the number of the answer among all messages */
  readonly resolve: (value: unknown, at: number) => void;
  readonly reject: (error: Error) => void;
}

/** What QEMU returned, and when it came. */
export interface NumberedAnswer {
  readonly value: unknown;
  /** As {@link QmpClient.received} was then. */
  readonly at: number;
}

interface QmpHandlers {
  readonly onEvent: (event: QmpEvent) => void;
  /** The connection has ended; called once, after every message before the end. */
  readonly onClose: () => void;
}

/**
 * A client of one QMP monitor. It asks for capabilities as soon as the greeting is there, and survives whatever its
 * peer says: lines that are no messages are passed over.
 *
 * It sets no deadlines: a monitor that is silent keeps its promises open, and who asked owns the wait.
 */
export class QmpClient {
  /** Fulfilled when capabilities negotiation is through; rejected with {@link MonitorClosed} if it never is. */
  readonly ready: Promise<void>;

  #stream: Duplex | null = null;
  readonly #pending = new Map<number, Pending>();
  readonly #handlers: QmpHandlers;
  #greeting: Readonly<Record<string, unknown>> = {};
  #lastId = 0;
  #received = 0;
  #closed = false;
  /** Commands that are not written yet. */
  #unwritten: string[] = [];
  #isHeld = false;
  #isOver = false;
  #isReading = false;
  #greet!: Pending;

  /** @param stream `null`: there is none yet, see {@link QmpClient.open} */
  constructor(stream: Duplex | null, handlers: QmpHandlers) {
    this.#handlers = handlers;
    this.ready = new Promise<unknown>((resolve, reject) => {
      this.#greet = { resolve, reject };
    }).then(() => undefined);
    this.ready.catch(() => undefined);
    if (stream !== null) this.open(stream);
  }

  /** The connection is there. */
  open(stream: Duplex): void {
    if (this.#closed) return void stream.destroy();
    this.#stream = stream;
    const split = lineSplitter((line) => this.#take(line));
    stream.on('data', (chunk: Buffer) => {
      this.#isReading = true;
      split(chunk);
      this.#isReading = false;
      this.#write();
    });
    // An error is always followed by 'close'; a peer that hangs up on unread data is no different from one that ends.
    stream.on('error', () => undefined);
    stream.on('close', () => this.#end());
    stream.on('end', () => this.#end());
    // It may come paused, with a greeting that a caller waited for.
    stream.resume();
  }

  /** What the monitor said first, with QEMU's version; empty before {@link QmpClient.ready}. */
  get greeting(): Readonly<Record<string, unknown>> {
    return this.#greeting;
  }

  /**
   * Whether commands wait: they are written when it is over, and rejected if the connection ends before. Those that
   * come while messages are read wait for the last of them, which may say that QEMU exits.
   */
  hold(isHeld: boolean): void {
    this.#isHeld = isHeld;
    this.#write();
  }

  /**
   * Executes a command.
   * @returns what QEMU returned
   * @throws {QmpError} if QEMU answered with an error
   * @throws {MonitorClosed} if the connection ended before the answer
   */
  execute(command: string, args?: Readonly<Record<string, unknown>>): Promise<unknown> {
    return this.executeNumbered(command, args).then(({ value }) => value);
  }

  /** How many messages have come: QEMU sends answers and events in the order in which they came about. */
  get received(): number {
    return this.#received;
  }

  /** {@link QmpClient.execute}, with the number of the answer. */
  executeNumbered(command: string, args?: Readonly<Record<string, unknown>>): Promise<NumberedAnswer> {
    if (this.#closed) return Promise.reject(new MonitorClosed());
    const id = ++this.#lastId;
    const answer = new Promise<NumberedAnswer>((resolve, reject) =>
      this.#pending.set(id, { resolve: (value, at) => resolve({ value, at }), reject }),
    );
    if (!this.#isOver)
      this.#unwritten.push(`${JSON.stringify({ execute: command, ...(args && { arguments: args }), id })}\n`);
    this.#write();
    return answer;
  }

  /** Executes a command after which no other one is written: {@link QmpClient.execute} of `quit`. */
  executeLast(command: string): Promise<unknown> {
    const answer = this.execute(command);
    this.#isOver = true;
    return answer;
  }

  #write(): void {
    const stream = this.#stream;
    if (stream === null || this.#isHeld || this.#isReading || this.#closed) return;
    for (const line of this.#unwritten.splice(0)) stream.write(line);
  }

  #take(line: string): void {
    const message = readMessage(line);
    this.#received++;
    switch (message.kind) {
      case 'greeting':
        this.#greeting = message.greeting;
        this.execute('qmp_capabilities').then(() => this.#greet.resolve(undefined, 0), this.#greet.reject);
        return;
      case 'event':
        this.#handlers.onEvent(message.event);
        return;
      case 'return':
        this.#settle(message.id)?.resolve(message.value, this.#received);
        return;
      case 'error':
        this.#settle(message.id)?.reject(message.error);
        return;
      case 'unknown':
        return;
    }
  }

  #settle(id: unknown): Pending | undefined {
    if (typeof id !== 'number') return undefined;
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    return pending;
  }

  /** There will be no connection. */
  close(): void {
    if (this.#stream === null) this.#end();
  }

  #end(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#greet.reject(new MonitorClosed());
    for (const pending of this.#pending.values()) pending.reject(new MonitorClosed());
    this.#pending.clear();
    this.#handlers.onClose();
  }
}
