import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, test } from 'node:test';
import { Lab, program, type Trap, until } from '../support/lab.js';
import { Linux, needsLinux, says } from '../support/linux.js';

/*
 * `--busy-timeout`: a real Linux that still writes to its disk at the deadline.
 */

/** It writes once a second, and not as fast as it can: the processor is for the other tests. */
const slowUpdates = ['idle', 'updates'];

/** A Linux that does what `words` of linux-guest/init says when it is to shut down, told to, and its end. */
async function stopWhile(
  lab: Lab,
  words: readonly string[],
  options: readonly string[],
): Promise<{ readonly trap: Trap; readonly linux: Linux; readonly status: number }> {
  const linux = new Linux(lab);
  const command = linux.command({ words });
  const trap = lab.start({ command, options: ['--press', 'once', ...options] });
  await linux.says('has been up');
  trap.kill('SIGTERM');
  await linux.says(says.pressed);
  return { trap, linux, status: await trap.status() };
}

describe('--busy-timeout', { ...needsLinux, concurrency: 2 }, () => {
  test('a guest that writes past its deadline has the time to power off', async (t) => {
    const lab = new Lab(t);
    const { trap, linux, status } = await stopWhile(lab, slowUpdates, ['--timeout', '5', '--busy-timeout', '10min']);
    assert.equal(status, 0, trap.stderr);
    assert.equal(linux.said(says.bye), 1);
    linux.assertClean();
    const [more, ...again] = trap.events('more-time');
    assert.match(
      more?.message ?? '',
      /the guest (is still writing|last wrote).*; it gets more time .* until 600 s after the signal$/,
    );
    assert.equal(again.length, 0, 'it is told once');
    await lab.assertNothingLeft();
  });

  test('negative control: without it the same guest is forced', async (t) => {
    const lab = new Lab(t);
    const { trap, linux, status } = await stopWhile(lab, slowUpdates, ['--timeout', '5']);
    assert.equal(status, 124, trap.stderr);
    assert.equal(linux.said(says.bye), 0);
  });

  test('one that stands still is forced at the deadline', async (t) => {
    const lab = new Lab(t);
    const { trap, status } = await stopWhile(lab, ['stands'], ['--timeout', '35', '--busy-timeout', '10min']);
    assert.equal(status, 124, trap.stderr);
    assert.deepEqual(trap.events('more-time'), []);
    assert.equal(trap.verdict['cause'], 'deadline');
  });

  test('one that writes for ever is forced when that time is over, and is told of meanwhile', async (t) => {
    const lab = new Lab(t);
    const linux = new Linux(lab);
    const command = linux.command({ words: ['idle', 'forever'] });
    const options = ['--name', 'busy', '--timeout', '4', '--busy-timeout', '30', '--press', 'once'];
    const trap = lab.start({ command, options });
    await linux.says('has been up');
    trap.kill('SIGTERM');
    await trap.event('more-time');
    await until('--status says so', () => {
      const own = ['--run-dir', lab.runDir, '--state-dir', lab.file('state')];
      const words = [program, '--status', ...own, 'busy'];
      return /^busy: SIGTERM: waiting for the guest to shut down \(still writing, [\d.]+ [kM]B\/s\), for \d+ s at most as long as it writes$/m.test(
        spawnSync(process.execPath, words, { encoding: 'utf8' }).stdout,
      );
    });
    assert.equal(await trap.status(), 124, trap.stderr);
    const { cause, message, ms } = trap.verdict;
    assert.equal(cause, 'busy-deadline');
    assert.match(
      String(message),
      /the guest was still writing when --busy-timeout was over, so qemu-trap told QEMU to quit/,
    );
    assert.ok(Number(ms) >= 30_000);
  });
});
