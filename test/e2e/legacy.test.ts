import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Lab } from '../support/lab.js';

/** Scripts as people have them, unchanged: they dial a socket, or open fd 3 by its number. */
const scripts: Readonly<Record<string, string>> = {
  'socat on the human monitor': '#!/bin/sh\necho system_powerdown | socat - UNIX-CONNECT:$MONITOR_SOCKET\n',
  'nc -U on the human monitor': '#!/bin/sh\necho system_powerdown | nc -U -N "$MONITOR_SOCKET"\n',
  'bash and socat on the QMP socket': `#!/bin/bash
exec 5<> >(:)
coproc QMP { socat - "UNIX-CONNECT:$QMP_SOCKET"; }
read -r greeting <&"\${QMP[0]}"
echo '{"execute":"qmp_capabilities"}' >&"\${QMP[1]}"; read -r _ <&"\${QMP[0]}"
echo '{"execute":"system_powerdown"}' >&"\${QMP[1]}"; read -r _ <&"\${QMP[0]}"
`,
  'two lines piped into socat on the QMP socket': `#!/bin/sh
(echo '{"execute":"qmp_capabilities"}'; echo '{"execute":"system_powerdown"}'; sleep 0.3) | socat - UNIX-CONNECT:"$QMP_SOCKET"
`,
  'Python on fd 3 by its number': `#!/usr/bin/env python3
import socket
monitor = socket.socket(fileno=3)
lines = monitor.makefile("rw")
lines.readline()
for command in ("qmp_capabilities", "system_powerdown"):
    lines.write('{"execute": "%s"}\\n' % command)
    lines.flush()
    lines.readline()
`,
  'a file without a first line of #!': 'printf \'{"execute":"qmp_capabilities"}{"execute":"system_powerdown"}\' >&3\n',
};

for (const [what, script] of Object.entries(scripts)) {
  test(`a legacy script works unchanged: ${what}`, async (t) => {
    const lab = new Lab(t);
    lab.hook('SIGTERM', script);
    const trap = await lab.startGuest({ options: ['--hooks', lab.hooks] });
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0);
    assert.equal(lab.said('bye'), 1);
    assert.equal(trap.events('next-link').length, 0, `the script did it; the log:\n${trap.stderr}`);
    await lab.assertNothingLeft();
  });
}
