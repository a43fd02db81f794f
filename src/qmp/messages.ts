/*
 * The messages of the QEMU Machine Protocol, in the words of docs/interop/qmp-spec of QEMU.
 */

/** An asynchronous message: something happened in the VM. */
export interface QmpEvent {
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
  /** When it happened, in QEMU's form of seconds and microseconds. */
  readonly timestamp?: unknown;
}

/** The answer `{"error": ...}` to a command. */
export class QmpError extends Error {
  override readonly name = 'QmpError';

  constructor(
    /** QEMU's error class, such as `CommandNotFound` or `GenericError`. */
    readonly errorClass: string,
    /** QEMU's own words. */
    readonly desc: string,
  ) {
    super(desc);
  }
}

/** The monitor has gone, or was never there: no answer will come. */
export class MonitorClosed extends Error {
  override readonly name = 'MonitorClosed';

  constructor() {
    super('the monitor has closed the connection');
  }
}

type QmpMessage =
  | { readonly kind: 'greeting'; readonly greeting: Readonly<Record<string, unknown>> }
  | { readonly kind: 'event'; readonly event: QmpEvent }
  | { readonly kind: 'return'; readonly id: unknown; readonly value: unknown }
  | { readonly kind: 'error'; readonly id: unknown; readonly error: QmpError }
  | { readonly kind: 'unknown' };

function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}

/** More than QEMU ever says of an error. */
const longestText = 1_000;

/** What is to be a text, from a peer who may send anything; `instead` if it is none. */
export function textOf(value: unknown, instead: string): string {
  return typeof value === 'string' ? value.slice(0, longestText) : instead;
}

/** Reads one line of a monitor. What is no message of the protocol is of kind `unknown`; it never throws. */
export function readMessage(line: string): QmpMessage {
  let parsed: unknown;
  try {
    parsed = JSON.parse(line);
  } catch {
    return { kind: 'unknown' };
  }
  const message = record(parsed);
  if ('QMP' in message) return { kind: 'greeting', greeting: message };
  if (typeof message['event'] === 'string') {
    const { timestamp } = message;
    return {
      kind: 'event',
      event: { event: message['event'], data: record(message['data']), ...(timestamp !== undefined && { timestamp }) },
    };
  }
  if ('error' in message) {
    const error = record(message['error']);
    return {
      kind: 'error',
      id: message['id'],
      error: new QmpError(textOf(error['class'], 'GenericError'), textOf(error['desc'], 'no description')),
    };
  }
  if ('return' in message) return { kind: 'return', id: message['id'], value: message['return'] };
  return { kind: 'unknown' };
}
