#!/usr/bin/env node
// First of all, before anything else is even read: a SIGTERM that comes before its trap is set would end Node by its
// own default.
import './signals/trap.js';

import('./main.js').catch((error: Error) => {
  process.stderr.write(
    `qemu-trap: cannot load its own program (${error.message.split('\n', 1)[0]}): raise the limit on open files (ulimit -n), or reinstall qemu-trap\n`,
  );
  process.exitCode = 125;
});
