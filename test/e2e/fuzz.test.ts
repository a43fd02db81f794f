import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { Duplex, PassThrough } from 'node:stream';
import { test } from 'node:test';
import fc from 'fast-check';
import { vmName } from '../../src/qemu/argv.js';
import { QmpClient } from '../../src/qmp/client.js';
import { jsonSplitter, readJson } from '../../src/qmp/json-splitter.js';
import { MonitorClosed, QmpError, type QmpEvent } from '../../src/qmp/messages.js';
import { Lab } from '../support/lab.js';

/*
 * What comes from outside, at random from a fixed seed: QMP_SEED=N npm test tries another.
 */

const seed = Number(process.env['QMP_SEED'] ?? 20261124);

/** What a monitor may say, good and bad; none of it holds a line feed but at its end. */
const rubbish = fc
  .oneof(
    fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes.filter((byte) => byte !== 0x0a))),
    fc.json().map((json) => Buffer.from(json)),
    fc
      .constantFrom(
        '{"return": {}}',
        '{"return": 1, "id": 4711}',
        '{"error": {}, "id": null}',
        '{"error": 5}',
        '{"QMP": 3}',
        '{"event": null}',
        '{"event": "X"',
        '[]',
        '\r',
        '{"__proto__": {"QMP": 1}}',
      )
      .map((text) => Buffer.from(text)),
    fc.nat({ max: 200_000 }).map((length) => Buffer.alloc(length, 'x')),
  )
  .filter((line) => !/"(event|QMP)"/.test(line.toString('latin1')) || !line.toString('latin1').startsWith('{"event"'));

test('the QMP client hears every event between whatever else comes, however it is cut', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.oneof(rubbish, fc.nat()), { maxLength: 30 }),
      fc.array(fc.integer({ min: 1, max: 5_000 }), { minLength: 1, maxLength: 5 }),
      async (lines, cuts) => {
        const fromQemu = new PassThrough();
        const toQemu = new PassThrough();
        toQemu.resume();
        const heard: QmpEvent[] = [];
        let closed = 0;
        const client = new QmpClient(Duplex.from({ readable: fromQemu, writable: toQemu }), {
          onEvent: (event) => heard.push(event),
          onClose: () => closed++,
        });
        const open = client.execute('query-status').catch((error: unknown) => error);
        const bytes = Buffer.concat(
          lines.flatMap((line) => [
            typeof line === 'number' ? Buffer.from(`{"event": "NUMBER", "data": {"n": ${line}}}`) : line,
            Buffer.from('\n'),
          ]),
        );
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const end = at + (cuts[i % cuts.length] as number);
          fromQemu.write(bytes.subarray(at, end));
          at = end;
        }
        fromQemu.end();
        const answer = await open;
        assert.ok(
          answer instanceof MonitorClosed || answer instanceof QmpError || !(answer instanceof Error),
          String(answer),
        );
        assert.deepEqual(
          heard.filter(({ event }) => event === 'NUMBER').map(({ data }) => data['n']),
          lines.filter((line) => typeof line === 'number'),
        );
        assert.equal(closed, 1);
        await assert.rejects(client.execute('late'), MonitorClosed);
      },
    ),
    { seed, numRuns: 200 },
  );
});

test('commands are cut as QEMU cuts them, whatever their style, and never make the reader throw', () => {
  const text = fc.oneof(
    fc.record({ execute: fc.string({ unit: 'grapheme' }), id: fc.jsonValue() }).map((value) => JSON.stringify(value)),
    fc.array(fc.jsonValue()).map((value) => JSON.stringify(value)),
  );
  fc.assert(
    fc.property(
      fc.array(text),
      fc.constantFrom('', ' ', '\n', '\r\n'),
      fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }),
      (texts, gap, cuts) => {
        const bytes = Buffer.from(texts.join(gap));
        const got: string[] = [];
        const take = jsonSplitter((each) => got.push(each));
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const end = at + (cuts[i % cuts.length] as number);
          take(bytes.subarray(at, end));
          at = end;
        }
        assert.deepEqual(got, texts);
        for (const each of got) assert.deepEqual(readJson(each), JSON.parse(each));
      },
    ),
    { seed },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) =>
      jsonSplitter((each) => void readJson(each))(Buffer.from(bytes)),
    ),
    { seed, numRuns: 2_000 },
  );
  const plain = fc.string({ unit: fc.constantFrom('a', '"', 'ä', ' ', '{', '}', ',', ':') });
  fc.assert(
    fc.property(plain, (value) => {
      assert.deepEqual(readJson(`{'execute': '${value}', "id": "${value.replaceAll('"', '\\"')}"}`), {
        execute: value,
        id: value,
      });
    }),
    { seed },
  );
});

/** QEMU's own reading of `-name VALUE`; `null` where it refuses it. */
function nameByQemu(value: string): Promise<string | null> {
  return new Promise((resolve, reject) => {
    const qemu = spawn('qemu-system-x86_64', ['-M', 'none', '-display', 'none', '-qmp', 'stdio', '-name', value], {
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    const timer = setTimeout(() => qemu.kill('SIGKILL'), 20_000);
    let answer: string | null = null;
    const client = new QmpClient(Duplex.from({ readable: qemu.stdout, writable: qemu.stdin }), {
      onEvent: () => undefined,
      onClose: () => undefined,
    });
    client.ready
      .then(() => client.execute('query-name'))
      .then((name) => {
        answer = (name as { name?: string }).name ?? '';
        return client.execute('quit');
      })
      .catch(() => undefined);
    qemu.stdin.on('error', () => undefined);
    qemu.on('error', reject);
    qemu.on('exit', () => {
      clearTimeout(timer);
      resolve(answer);
    });
  });
}

test('-name is read as QEMU itself reads it', async () => {
  const piece = fc.constantFrom(
    'web',
    'a',
    'guest=',
    'guest=b',
    'process=p',
    'debug-threads=on',
    'debug-threads=off',
    ',',
    ',',
    ',,',
    '=',
    ' ',
    'ä',
  );
  const values = fc.sample(
    fc.array(piece, { minLength: 1, maxLength: 6 }).map((pieces) => pieces.join('')),
    { seed, numRuns: 60 },
  );
  let accepted = 0;
  for (const value of new Set(values)) {
    const name = await nameByQemu(value);
    if (name === null) continue;
    accepted++;
    const ours = vmName(['qemu', '-name', value]);
    assert.equal(/^qemu-[0-9a-f]{8}$/.test(ours) ? '' : ours, name, `-name '${value}'`);
  }
  assert.ok(accepted >= 20, `QEMU took ${accepted} of them`);
});

/*
 * No real QEMU talks like these: a program in its place that takes the control monitor and misbehaves.
 */
const hostile = `
const { readFileSync } = require('node:fs');
const { Socket } = require('node:net');
const mode = process.argv[2];
const config = readFileSync(process.argv[process.argv.indexOf('-readconfig') + 1], 'utf8');
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(signal, () => undefined);
const socket = new Socket({ fd: Number(/fd = "(\\d+)"/.exec(config)[1]) });
const greet = () => socket.write('{"QMP": {"version": {}, "capabilities": []}}\\r\\n');
const answer = (reply) => {
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk;
    const lines = text.split('\\n');
    text = lines.pop();
    for (const line of lines) reply(JSON.parse(line));
  });
};
let random = Number(process.argv[3]);
const next = () => (random = (Math.imul(random, 1103515245) + 12345) >>> 0) >>> 16;
const modes = {
  silent: () => undefined,
  'greets and is silent': greet,
  'an error for every command': () => { greet(); answer(({ id }) => socket.write(JSON.stringify({ error: { class: 'GenericError', desc: 'no' }, id }) + '\\n')); },
  'errors after the negotiation': () => { greet(); answer(({ id, execute }) => socket.write(JSON.stringify(execute === 'qmp_capabilities' ? { return: {}, id } : { error: { class: 'GenericError', desc: 'no' }, id }) + '\\n')); },
  'nonsense for every command': () => { greet(); answer(({ id, execute }) => socket.write(JSON.stringify({ return: execute === 'qmp_capabilities' ? {} : [null, 'status'], id }) + '\\n')); },
  'random bytes': () => setInterval(() => socket.write(Buffer.from(Array.from({ length: 400 }, next))), 5),
  'megabyte events': () => { greet(); answer(({ id }) => socket.write(JSON.stringify({ return: { status: 'running' }, id }) + '\\n')); const big = JSON.stringify({ event: 'STOP', data: { x: 'y'.repeat(1_000_000) } }) + '\\n'; setInterval(() => socket.writableLength < 4_000_000 && socket.write(big), 20); },
  'one line without an end': () => setInterval(() => socket.writableLength < 4_000_000 && socket.write('z'.repeat(1_000_000)), 20),
  'hangs up and stays': () => { greet(); setTimeout(() => socket.destroy(), 300); },
  'never reads': () => { greet(); socket.pause(); },
};
modes[mode]();
setInterval(() => undefined, 1_000);
`;

for (const mode of [
  'silent',
  'greets and is silent',
  'an error for every command',
  'errors after the negotiation',
  'nonsense for every command',
  'random bytes',
  'megabyte events',
  'one line without an end',
  'hangs up and stays',
  'never reads',
]) {
  test(`a QEMU whose monitor misbehaves (${mode}): it is ended in time all the same, and the last line says how`, async (t) => {
    const lab = new Lab(t);
    writeFileSync(lab.file('hostile.cjs'), hostile);
    const trap = lab.start({
      command: [process.execPath, lab.file('hostile.cjs'), mode, String(seed)],
      options: ['--timeout', '1', '--kill-after', '0.5'],
    });
    await trap.event('start');
    const began = performance.now();
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 137, trap.stderr);
    assert.equal(trap.verdict['verdict'], 'killed');
    assert.ok(Number(trap.verdict['ms']) >= 1_000 && performance.now() - began < 30_000);
    assert.equal(trap.events('internal-error').length, 0, trap.stderr);
    await lab.assertNothingLeft();
  });
}
