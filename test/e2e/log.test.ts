import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { openLog } from '../../src/log/log.js';

/** The messages that a hook's output makes in JSON, cut into chunks at these places. */
function messages(text: Buffer, cuts: readonly number[]): string[] {
  const lines: string[] = [];
  const log = openLog({ format: 'json', priorities: false, stamped: false, vm: 'vm' }, (line) =>
    lines.push(line.toString()),
  );
  const places = [0, ...[...cuts].map((cut) => cut % (text.length + 1)).sort((a, b) => a - b), text.length];
  // An empty chunk says that the hook has written its last.
  for (let i = 1; i < places.length; i++)
    if ((places[i] as number) > (places[i - 1] as number))
      log.hookOutput('/hook', text.subarray(places[i - 1], places[i]));
  log.hookOutput('/hook', Buffer.alloc(0));
  log.flush();
  return lines.map((line) => (JSON.parse(line) as { message: string }).message);
}

test('a line of a hook is one message, wherever its bytes are cut, be it within a character', () => {
  const text = Buffer.from('Grüße, 世界 🌍\n\n  zwei\nohne Ende');
  const whole = ['Grüße, 世界 🌍', '  zwei', 'ohne Ende'];
  assert.deepEqual(messages(text, []), whole);
  fc.assert(
    fc.property(fc.array(fc.nat()), (cuts) => assert.deepEqual(messages(text, cuts), whole)),
    { numRuns: 500, seed: 20261126 },
  );
});

test('each JSON object ends with the version of its form', () => {
  const lines: string[] = [];
  const log = openLog({ format: 'json', priorities: false, stamped: false, vm: 'vm' }, (line) =>
    lines.push(line.toString()),
  );
  log({ event: 'start', level: 'info', message: 'x', facts: { pid: 1 } });
  log.flush();
  assert.match(
    lines.join(''),
    /^\{"time":"[^"]+","event":"start","level":"info","vm":"vm","pid":1,"message":"x","v":1\}\n$/,
  );
});
