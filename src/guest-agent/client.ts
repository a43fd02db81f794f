import { connect } from 'node:net';
import { lineSplitter } from '../qmp/lines.js';
import { readMessage, type QmpError } from '../qmp/messages.js';
import { startTimer, type Timer } from '../system/timer.js';

/*
 * The QEMU guest agent speaks QMP's language, without greeting, ids or events, on a serial line that lasts longer than
 * any client: qga/qapi-schema.json of QEMU.
 */

/** How long the agent has to say that it is there, in milliseconds. */
const answerWithinMs = 2_000;

/** Commands that answer on failure only (`success-response: false` of qga/qapi-schema.json). */
const silentOnSuccess: readonly string[] = [
  'guest-shutdown',
  'guest-suspend-disk',
  'guest-suspend-ram',
  'guest-suspend-hybrid',
];

/** No answer: no socket, no agent in the guest, or one that hangs. */
export class AgentSilent extends Error {
  override readonly name = 'AgentSilent';
}

/**
 * Executes one command in the guest, over a connection of its own.
 *
 * The agent is asked for a sign of life first: a command written to an agent that is not there would be executed when
 * it comes, at the guest's next boot, say.
 * @param onSynchronised called before the command itself is sent
 * @param commandWithinMs the deadline for the command's own answer; `null`: the caller has one
 * @throws {AgentSilent} if there is no sign of life within {@link answerWithinMs}, or no answer
 * @throws {QmpError} if the agent answers with an error
 */
export function askAgent(
  socketPath: string,
  command: string,
  args: Readonly<Record<string, unknown>> | undefined,
  commandWithinMs: number | null,
  onSynchronised: () => void = () => undefined,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const sync = Math.floor(Math.random() * 2 ** 31);
    const socket = connect({ path: socketPath });
    let synchronised = false;
    let timer: Timer | undefined;
    const end = (settle: () => void): void => {
      timer?.cancel();
      socket.destroy();
      settle();
    };
    const silent = (why: string): void => end(() => reject(new AgentSilent(why)));
    const within = (ms: number, then: () => void): void => {
      timer?.cancel();
      timer = startTimer(ms, then);
    };
    const write = (name: string, its?: object): void =>
      void socket.write(`${JSON.stringify({ execute: name, ...(its && { arguments: its }) })}\n`);

    within(answerWithinMs, () =>
      silent(`the guest agent did not answer within ${answerWithinMs / 1000} seconds (${socketPath})`),
    );
    socket.on('connect', () => {
      // 0xFF resets the agent's JSON lexer, if another client left half a command.
      socket.write(Buffer.from([0xff]));
      write('guest-sync-delimited', { id: sync });
    });
    socket.on('error', (error: NodeJS.ErrnoException) =>
      silent(`cannot connect to the guest agent's socket: ${error.code} (${socketPath})`),
    );
    socket.on('close', () => silent(`the guest agent closed its socket (${socketPath})`));
    socket.on(
      'data',
      lineSplitter((line) => {
        // The answer to guest-sync-delimited begins with 0xFF, which is no UTF-8.
        const message = readMessage(line.replace(/^\uFFFD+/, ''));
        if (!synchronised) {
          // What comes before is meant for a client that has gone.
          if (message.kind !== 'return' || message.value !== sync) return;
          synchronised = true;
          onSynchronised();
          timer?.cancel();
          if (silentOnSuccess.includes(command)) within(answerWithinMs, () => end(() => resolve({})));
          else if (commandWithinMs !== null)
            within(commandWithinMs, () =>
              silent(`the guest agent did not answer ${command} within ${commandWithinMs / 1000} seconds`),
            );
          write(command, args);
        } else if (message.kind === 'return') {
          end(() => resolve(message.value));
        } else if (message.kind === 'error') {
          const { error }: { error: QmpError } = message;
          end(() => reject(error));
        }
      }),
    );
  });
}
