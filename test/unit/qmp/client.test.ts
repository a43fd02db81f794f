import assert from 'node:assert/strict';
import { PassThrough, Duplex } from 'node:stream';
import { test } from 'node:test';
import fc from 'fast-check';
import { QmpClient } from '../../../src/qmp/client.js';
import { isHumanError, qmpCommandFor } from '../../../src/qmp/monitor-command.js';
import { readEvent } from '../../../src/outcome/evidence.js';
import { queryRunState } from '../../../src/qemu/power-button.js';
import { lineSplitter } from '../../../src/qmp/lines.js';
import { MonitorClosed, QmpError, readMessage, type QmpEvent } from '../../../src/qmp/messages.js';

/** A monitor under the test's control: real QEMUs never misbehave like this. */
function fake() {
  const fromQemu = new PassThrough();
  const toQemu = new PassThrough();
  const stream = Duplex.from({ readable: fromQemu, writable: toQemu });
  const events: QmpEvent[] = [];
  let closed = 0;
  const client = new QmpClient(stream, { onEvent: (event) => events.push(event), onClose: () => closed++ });
  const say = (text: string | Buffer): void => void fromQemu.write(text);
  return { client, say, events, closed: () => closed, end: () => fromQemu.end() };
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));

test('negotiates on the greeting, and matches answers by their id', async () => {
  const { client, say } = fake();
  say('{"QMP": {}}\r\n');
  await settled();
  say('{"return": {}, "id": 1}\r\n');
  await client.ready;
  const first = client.execute('a');
  const second = client.execute('b');
  say('{"id": 3, "error": {"class": "GenericError", "desc": "no"}}\n{"return": 7, "id": 2}\n');
  assert.equal(await first, 7);
  await assert.rejects(
    second,
    (error) => error instanceof QmpError && error.errorClass === 'GenericError' && error.message === 'no',
  );
});

test('the end rejects what is open, once', async () => {
  const { client, say, end, closed } = fake();
  say('{"QMP": {}}\n');
  await settled();
  const open = client.execute('quit');
  end();
  await assert.rejects(open, MonitorClosed);
  await assert.rejects(client.ready, MonitorClosed);
  await assert.rejects(client.execute('late'), MonitorClosed);
  await settled();
  assert.equal(closed(), 1);
});

test('rubbish, invalid UTF-8, unknown messages and answers nobody asked for pass over it', async () => {
  const { client, say, events } = fake();
  say(Buffer.from([0xff, 0xfe, 0x0a, 0xc3, 0x0a]));
  say(
    'not json\n[]\n3\nnull\n"x"\n{}\n{"return": 1, "id": 99}\n{"return": 1, "id": "x"}\n{"return": 1}\n{"event": 5}\n{"error": null}\n',
  );
  say('{"event": "NEW_IN_QEMU_99", "data": []}\n{"event": "STOP"}\n{"QMP": {}}\n');
  await settled();
  say('{"return": {}, "id": 1}\n');
  await client.ready;
  assert.deepEqual(events, [
    { event: 'NEW_IN_QEMU_99', data: {} },
    { event: 'STOP', data: {} },
  ]);
});

test('a megabyte in one event arrives whole', async () => {
  const { say, events } = fake();
  const name = 'ä'.repeat(1_000_000);
  say(`{"event": "BIG", "data": {"name": "${name}"}}\n`);
  await settled();
  assert.equal(events[0]?.data['name'], name);
});

test('lines are the same however the bytes are cut', () => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ unit: 'grapheme', maxLength: 20 }).map((line) => line.replaceAll(/[\r\n]/g, '').trim())),
      fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1 }),
      (lines, cuts) => {
        const bytes = Buffer.from(lines.map((line) => `${line}\r\n`).join(''));
        const got: string[] = [];
        const take = lineSplitter((line) => got.push(line));
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const length = cuts[i % cuts.length] as number;
          take(bytes.subarray(at, at + length));
          at += length;
        }
        assert.deepEqual(
          got,
          lines.filter((line) => line !== ''),
        );
      },
    ),
    { seed: 20261123 },
  );
});

test('no line makes the reader throw', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (line) => void readMessage(line)),
    { seed: 20261123, numRuns: 2_000 },
  );
});

test('what the human monitor says of an error is known from what it says else', () => {
  for (const error of [
    'Error: No block device can accept snapshots',
    "unknown command: 'foo'",
    'system_reset: extraneous characters at the end of line',
    'Try "help info" for more information',
    "Device 'nosuch' not found",
    "Mouse at index '99' not found",
    'user mode network stack not in use',
    'unknown event "nosuch"',
    'Must specify either driver or file',
  ]) {
    assert.ok(isHumanError(error), error);
  }
  for (const fine of ['', 'VM status: running', 'pc.ram: 0x0', 'web']) assert.ok(!isHumanError(fine), fine);
});

test('a command goes to QMP if QMP has it, with its arguments', () => {
  for (const [line, name, args] of [
    ['system_powerdown', 'system_powerdown', {}],
    ['nmi', 'inject-nmi', {}],
    ['migrate {"uri":"tcp:host:4444"}', 'migrate', { uri: 'tcp:host:4444' }],
    ['migrate -d tcp:host:4444', 'migrate', { uri: 'tcp:host:4444' }],
    ['device_del  net0', 'device_del', { id: 'net0' }],
    ['object_del rng0', 'object-del', { id: 'rng0' }],
    ['netdev_del n0', 'netdev_del', { id: 'n0' }],
    ['balloon 512', 'balloon', { value: 512 * 2 ** 20 }],
    ['set_link net0 off', 'set_link', { name: 'net0', up: false }],
    ['screendump /tmp/a.ppm', 'screendump', { filename: '/tmp/a.ppm' }],
    ['set_password vnc secret', 'set_password', { protocol: 'vnc', password: 'secret' }],
    ['change vnc password secret', 'change-vnc-password', { password: 'secret' }],
    [
      'sendkey ctrl-alt-delete',
      'send-key',
      { keys: ['ctrl', 'alt', 'delete'].map((data) => ({ type: 'qcode', data })) },
    ],
  ] as const)
    assert.deepEqual(qmpCommandFor(line), { name, args }, line);
  for (const line of ['savevm nightly', 'sendkey 0x1d', 'balloon many', 'info status', 'migrate {not json}'])
    assert.equal(qmpCommandFor(line), null, line);
});

test('while commands are held none is written; they are when that is over, and nothing after the last one', async () => {
  const toQemu: string[] = [];
  const fromQemu = new PassThrough();
  const sink = new PassThrough();
  sink.on('data', (chunk: Buffer) =>
    toQemu.push(
      ...chunk
        .toString()
        .trim()
        .split('\n')
        .map((line) => (JSON.parse(line) as { execute: string }).execute),
    ),
  );
  const client = new QmpClient(Duplex.from({ readable: fromQemu, writable: sink }), {
    onEvent: (event) => client.hold(event.event === 'SHUTDOWN'),
    onClose: () => undefined,
  });
  fromQemu.write('{"QMP": {}}\n');
  await settled();
  fromQemu.write('{"return": {}, "id": 1}\n');
  await client.ready;
  fromQemu.write('{"event": "SHUTDOWN"}\n');
  await settled();
  const held = client.execute('query-status');
  await settled();
  assert.deepEqual(toQemu, ['qmp_capabilities']);
  fromQemu.write('{"event": "STOP"}\n');
  await settled();
  assert.deepEqual(toQemu, ['qmp_capabilities', 'query-status']);
  void client.executeLast('quit').catch(() => undefined);
  const never = client.execute('query-status');
  await settled();
  assert.deepEqual(toQemu, ['qmp_capabilities', 'query-status', 'quit']);
  fromQemu.end();
  await assert.rejects(never, MonitorClosed);
  await assert.rejects(held, MonitorClosed);
});

test('a peer that sends objects for texts, or texts without end, is read all the same', () => {
  for (const bad of [{ toString: 1 }, null, 7, ['x']]) {
    const message = readMessage(JSON.stringify({ error: { class: bad, desc: bad } }));
    assert.ok(message.kind === 'error');
    assert.deepEqual([message.error.errorClass, message.error.desc], ['GenericError', 'no description']);
    assert.doesNotThrow(() => readEvent({ event: 'SHUTDOWN', data: { reason: bad } }));
  }
  const long = readMessage(JSON.stringify({ error: { class: 'GenericError', desc: 'x'.repeat(3_000_000) } }));
  assert.ok(long.kind === 'error' && long.error.desc.length === 1_000);
});

test('an answer to query-status that has no status leaves the run state unknown', async () => {
  for (const answer of [null, {}, { status: { toString: 1 } }])
    assert.equal(await queryRunState({ execute: async () => answer }), 'unknown');
});
