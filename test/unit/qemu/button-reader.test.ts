import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { ButtonReader } from '../../../src/qemu/button-reader.js';
import { QmpClient } from '../../../src/qmp/client.js';

/*
 * What a reading is worth when an event comes between its answers, and how long it waits.
 */

/** A monitor that says what the test has it say; `asked` are the lines of the human monitor that it was asked. */
class Scripted {
  readonly asked: string[] = [];
  readonly client: QmpClient;
  readonly reader: ButtonReader;
  #lastChange = 0;
  readonly #stream: Duplex;
  #ids: number[] = [];

  constructor() {
    this.#stream = new Duplex({
      read: () => undefined,
      write: (chunk: Buffer, _, done) => {
        for (const line of String(chunk).trim().split('\n')) {
          const message = JSON.parse(line);
          if (message.execute === 'qmp_capabilities') this.say({ return: {}, id: message.id });
          else {
            this.asked.push(message.arguments?.['command-line'] ?? message.execute);
            this.#ids.push(message.id);
          }
        }
        done();
      },
    });
    this.client = new QmpClient(this.#stream, {
      onEvent: ({ event }) => {
        if (event === 'POWERDOWN') this.#lastChange = this.client.received;
      },
      onClose: () => undefined,
    });
    this.reader = new ButtonReader(this.client, () => this.#lastChange);
    this.say({ QMP: {} });
  }

  /** All in one piece, as QEMU may send it. */
  say(...messages: readonly object[]): void {
    this.#stream.push(messages.map((message) => `${JSON.stringify(message)}\n`).join(''));
  }

  /** The answer to the oldest command that has none. */
  answer(value: unknown): object {
    return { return: value, id: this.#ids.shift() };
  }

  async isAsked(count: number): Promise<void> {
    while (this.asked.length < count) await new Promise((resolve) => setImmediate(resolve));
  }
}

const powerdown = { event: 'POWERDOWN', timestamp: {} };
const clear = 'portw[0x0600] = 0x0001\r\n';
const enabled = 'portw[0x0602] = 0x0120\r\n';
const tree = '  0000000000000600-0000000000000603 (prio 0, i/o): acpi-evt\r\n';

async function placed(): Promise<Scripted> {
  const monitor = new Scripted();
  await monitor.client.ready;
  const place = monitor.reader.lookUp();
  await monitor.isAsked(1);
  monitor.say(monitor.answer(tree));
  assert.equal(await place, 'placed');
  return monitor;
}

for (const [what, first, second, isWorth] of [
  ['before both answers', ['POWERDOWN', 'status'], ['enable'], true],
  ['between them', ['status', 'POWERDOWN'], ['enable'], false],
  ['after both', ['status'], ['enable', 'POWERDOWN'], false],
] as const) {
  test(`a press that comes ${what}: the reading is ${isWorth ? 'one after it' : 'none after it'}`, async () => {
    const monitor = await placed();
    const messages: Readonly<Record<string, () => object>> = {
      POWERDOWN: () => powerdown,
      status: () => monitor.answer(clear),
      enable: () => monitor.answer(enabled),
    };
    const say = (...said: readonly string[]): void =>
      monitor.say(...said.map((each) => (messages[each] as () => object)()));
    const reading = monitor.reader.read();
    await monitor.isAsked(2);
    say(...first);
    await monitor.isAsked(3);
    say(...second);
    assert.deepEqual(monitor.asked.slice(1), ['i /h 0x600', 'i /h 0x602']);
    assert.deepEqual(await reading, isWorth ? { listens: true, isPending: false, isAwakened: false } : null);
  });
}

test('no answer in time: none is waited for any longer, and nothing else is asked before it has come', async () => {
  const monitor = await placed();
  assert.equal(await monitor.reader.read(), null);
  assert.equal(await monitor.reader.read(), null);
  assert.equal(await monitor.reader.lookUp(), null);
  assert.equal(monitor.asked.length, 2);
  monitor.say(monitor.answer(clear));
  await monitor.isAsked(3);
  monitor.say(monitor.answer(enabled));
  await new Promise((resolve) => setImmediate(resolve));
  const again = monitor.reader.read();
  await monitor.isAsked(4);
  monitor.say(monitor.answer(clear));
  await monitor.isAsked(5);
  monitor.say(monitor.answer(enabled));
  assert.deepEqual(await again, { listens: true, isPending: false, isAwakened: false });
});

test('an error, and words that are no register: it cannot be read', async () => {
  const monitor = await placed();
  const reading = monitor.reader.read();
  for (const count of [2, 3]) {
    await monitor.isAsked(count);
    monitor.say(monitor.answer("unknown command: 'i'\r\n"));
  }
  assert.equal(await reading, 'unreadable');
  const place = monitor.reader.lookUp();
  await monitor.isAsked(4);
  const { id } = monitor.answer(null) as { readonly id: number };
  monitor.say({ error: { class: 'CommandNotFound', desc: 'no' }, id });
  assert.equal(await place, 'unreadable');
});
