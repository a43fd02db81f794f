import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { spawnSync } from '../../../src/system/spawn.js';

test('a helper that a signal ended is started once more, and one that exceeds its time is not', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'qemu-trap-test-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const told = spawnSync('sh', ['-c', 'mkdir met 2>/dev/null && kill -HUP $$; echo done'], {
    stdio: ['ignore', 'pipe', 'ignore'],
    cwd: dir,
  });
  assert.deepEqual([told.status, told.stdout], [0, 'done\n']);

  const late = spawnSync('sh', ['-c', 'echo >>runs; sleep 60'], {
    stdio: ['ignore', 'pipe', 'ignore'],
    cwd: dir,
    timeout: 500,
  });
  assert.equal((late.error as NodeJS.ErrnoException).code, 'ETIMEDOUT');
  const runs = spawnSync('cat', ['runs'], { stdio: ['ignore', 'pipe', 'ignore'], cwd: dir });
  assert.equal(runs.stdout, '\n');
});
