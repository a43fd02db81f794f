import { createServer, type Server, type Socket } from 'node:net';
import type { QmpClient } from './client.js';
import { jsonSplitter, readJson } from './json-splitter.js';
import { lineSplitter } from './lines.js';
import { QmpError, type QmpEvent } from './messages.js';

/*
 * Monitors if QEMU has but one: qemu-trap holds that, and passes on what clients of its own sockets say, each
 * command in its turn. A client sees what a monitor of QEMU would show it, but for descriptors, which Node cannot pass.
 */

/** A client that does not read has this much kept for it, in bytes; then it is hung up on. */
const mostUnread = 16 * 1024 * 1024;

/** JSON.parse rounds integers beyond 2^53: they would reach QEMU as others. */
function hasLongInteger(text: string): boolean {
  return /\d{16,}/.test(text.replaceAll(/"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/gs, ''));
}

/** So many commands of one client may wait for their turn; then it is not read from until some are done, as QEMU does. */
const mostWaiting = 8;

/** Does what a client asks, one after the other, and reads no further while much of it waits. */
class CommandQueue {
  #last: Promise<void> = Promise.resolve();
  #waiting = 0;

  constructor(private readonly socket: Socket) {
    // What it asked is done, and answered, though it has nothing more to say.
    socket.on('end', () => void this.#last.then(() => socket.end()));
  }

  add(what: () => Promise<void> | void): void {
    if (++this.#waiting > mostWaiting) this.socket.pause();
    this.#last = this.#last.then(what).finally(() => {
      if (--this.#waiting <= mostWaiting) this.socket.resume();
    });
  }
}

/** Writes to a client that may not read: what is kept for it has an end. */
function tell(socket: Socket, text: string): void {
  if (!socket.writable) return;
  socket.write(text);
  if (socket.writableLength > mostUnread) socket.destroy();
}

/** A value in the very form that QEMU writes, spaces and all, because scripts match it by patterns. */
function word(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(word).join(', ')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = Object.entries(value).filter(([, member]) => member !== undefined);
  return `{${members.map(([name, member]) => `${JSON.stringify(name)}: ${word(member)}`).join(', ')}}`;
}

interface Command {
  readonly execute?: unknown;
  readonly arguments?: unknown;
  readonly id?: unknown;
}

/** One client of a relayed QMP monitor. */
class QmpPeer {
  #negotiated = false;

  constructor(
    private readonly socket: Socket,
    private readonly client: QmpClient,
  ) {
    const commands = new CommandQueue(socket);
    socket.on(
      'data',
      jsonSplitter((text) => commands.add(() => this.#take(text))),
    );
    this.#say(client.greeting);
  }

  event(event: QmpEvent): void {
    if (this.#negotiated)
      this.#say({
        timestamp: event.timestamp,
        event: event.event,
        ...(Object.keys(event.data).length > 0 && { data: event.data }),
      });
  }

  #say(message: object): void {
    tell(this.socket, `${word(message)}\r\n`);
  }

  #refuse(errorClass: string, desc: string, id: object): void {
    this.#say({ error: { class: errorClass, desc }, ...id });
  }

  async #take(text: string): Promise<void> {
    const parsed = readJson(text);
    if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
      return this.#refuse('GenericError', 'JSON parse error', {});
    const command = parsed as Command;
    const id = command.id === undefined ? {} : { id: command.id };
    const { execute } = command;
    if (typeof execute !== 'string') return this.#refuse('GenericError', "QMP input lacks member 'execute'", id);
    if (!this.#negotiated) {
      if (execute !== 'qmp_capabilities') {
        return this.#refuse('CommandNotFound', "Expecting capabilities negotiation with 'qmp_capabilities'", id);
      }
      this.#negotiated = true;
      return this.#say({ return: {}, ...id });
    }
    if (hasLongInteger(text))
      return this.#refuse('GenericError', 'a number of more than 15 digits cannot be relayed', id);
    try {
      this.#say({
        return: await this.client.execute(execute, command.arguments as Record<string, unknown> | undefined),
        ...id,
      });
    } catch (error) {
      if (error instanceof QmpError) this.#refuse(error.errorClass, error.desc, id);
      else this.socket.destroy();
    }
  }
}

/** One client of a relayed human monitor. */
function servePerson(socket: Socket, client: QmpClient): void {
  const { QMP } = client.greeting as { QMP?: { version?: { qemu?: { major: number; minor: number; micro: number } } } };
  const { major, minor, micro } = QMP?.version?.qemu ?? { major: 0, minor: 0, micro: 0 };
  const prompt = '(qemu) ';
  const commands = new CommandQueue(socket);
  const run = async (line: string): Promise<void> => {
    try {
      const output = String(await client.execute('human-monitor-command', { 'command-line': line }));
      tell(socket, `${output.replaceAll(/\r?\n/g, '\r\n')}${prompt}`);
    } catch (error) {
      if (error instanceof QmpError) tell(socket, `${error.desc}\r\n${prompt}`);
      else socket.destroy();
    }
  };
  socket.on(
    'data',
    lineSplitter((line) => commands.add(() => run(line))),
  );
  socket.write(`QEMU ${major}.${minor}.${micro} monitor - type 'help' for more information\r\n${prompt}`);
}

/** Monitors of qemu-trap's own on unix sockets, for as many clients as come. */
export class QmpServer {
  readonly #servers: Server[] = [];
  readonly #sockets = new Set<Socket>();
  readonly #peers = new Set<QmpPeer>();

  /** @param client connected, and through with its negotiation */
  constructor(private readonly client: QmpClient) {}

  /**
   * Serves on sockets of these paths.
   * @throws NodeJS.ErrnoException if one cannot be made
   */
  async listen(qmp: readonly string[], human: string): Promise<void> {
    for (const path of qmp) {
      await this.#serve(path, (socket) => {
        const peer = new QmpPeer(socket, this.client);
        this.#peers.add(peer);
        socket.once('close', () => this.#peers.delete(peer));
      });
    }
    await this.#serve(human, (socket) => servePerson(socket, this.client));
  }

  event(event: QmpEvent): void {
    for (const peer of this.#peers) peer.event(event);
  }

  /** QEMU has exited, and its monitors go with it. */
  close(): void {
    for (const server of this.#servers) server.close();
    for (const socket of this.#sockets) socket.destroySoon();
  }

  #serve(path: string, greet: (socket: Socket) => void): Promise<void> {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => undefined);
      socket.once('close', () => this.#sockets.delete(socket));
      greet(socket);
    });
    this.#servers.push(server);
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen({ path }, () => {
        server.removeAllListeners('error').on('error', () => undefined);
        resolve();
      });
    });
  }
}
