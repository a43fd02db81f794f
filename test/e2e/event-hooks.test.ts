import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Linux, needsLinux, says } from '../support/linux.js';
import { execute, human, Lab, monitor, read, runState, until } from '../support/lab.js';

/*
 * Hooks for QEMU's events, and `ready`.
 */

/** A hook that writes down what it was told, a line a run, and whether it had a monitor. */
function tells(lab: Lab, more = ''): string {
  return `#!/bin/sh
read -r event
qmp query-status >/dev/null 2>&1 && monitor=yes || monitor=no
echo "$1 $QEMU_TRAP_COUNT $monitor \${QMP_FD-none} $event" >>${lab.file('told')}
${more}
`;
}

interface Told {
  readonly name: string;
  readonly count: number;
  readonly monitor: string;
  readonly fd: string;
  readonly event: { readonly event: string; readonly data: Readonly<Record<string, unknown>> };
}

function told(lab: Lab): Told[] {
  return read(lab.file('told'))
    .split('\n')
    .filter(Boolean)
    .map((line) => {
      const [name = '', count, monitor = '', fd = '', ...event] = line.split(' ');
      return { name, count: Number(count), monitor, fd, event: JSON.parse(event.join(' ')) as Told['event'] };
    });
}

const hooks = (lab: Lab): string[] => ['--hooks', lab.hooks];

test('RESET, STOP and RESUME: each has its run, with the event on stdin and a monitor on fd 3', async (t) => {
  const lab = new Lab(t);
  for (const name of ['RESET', 'STOP', 'RESUME']) lab.hook(name, tells(lab));
  const trap = await lab.startGuest({ options: hooks(lab) });
  const before = told(lab).length;
  await execute(lab, 'stop');
  await until('STOP is told', () => told(lab).length === before + 1);
  await execute(lab, 'cont');
  await until('RESUME is told', () => told(lab).length === before + 2);
  await execute(lab, 'system_reset');
  await until('RESET is told', () => told(lab).some(({ name }) => name === 'RESET'));
  const all = told(lab).slice(before);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
  for (const { name, event, monitor, fd } of all) {
    assert.equal(event.event, name);
    assert.deepEqual([monitor, fd], ['yes', '3'], name);
  }
  assert.equal(typeof all.find(({ name }) => name === 'RESET')?.event.data['guest'], 'boolean');
  await lab.assertNothingLeft();
});

test('an event that comes while its hook runs is counted, and its last one is told; names keep their order', async (t) => {
  const lab = new Lab(t);
  const [first, go] = [lab.file('first'), lab.file('go')];
  lab.hook('STOP', tells(lab, `[ -e ${first} ] || { touch ${first}; while [ ! -e ${go} ]; do sleep 0.05; done; }`));
  lab.hook('RESUME', tells(lab));
  const trap = await lab.startGuest({ options: hooks(lab) });
  const before = told(lab).length;
  const { client, socket } = await monitor(lab);
  await client.execute('stop');
  await until('the first is at work', () => told(lab).length > before);
  for (let i = 0; i < 3; i++) {
    await client.execute('cont');
    await client.execute('stop');
  }
  await client.execute('cont');
  socket.destroy();
  writeFileSync(go, '');
  const rest = await until('all are told', () => (told(lab).length >= before + 3 ? told(lab).slice(before) : null));
  assert.deepEqual(
    rest.map(({ name, count }) => `${name} ${count}`),
    ['STOP 1', 'RESUME 4', 'STOP 3'],
  );
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
});

test('a guest that panicked and stands still is dumped, and started anew', async (t) => {
  const lab = new Lab(t);
  const dump = lab.file('dump');
  lab.hook(
    'GUEST_PANICKED',
    tells(
      lab,
      `until qmp query-status | grep -q guest-panicked; do sleep 0.05; done
qmp dump-guest-memory '{"paging":false,"protocol":"file:${dump}"}' && qmp system_reset && qmp cont`,
    ),
  );
  const qemu = ['-device', 'pvpanic', '-action', 'panic=pause'];
  const trap = await lab.startGuest({ qemu, options: hooks(lab) });
  await human(lab, 'o /b 0x505 1');
  await lab.guestSaid('up', 2);
  assert.equal(told(lab)[0]?.event.data['action'], 'pause');
  assert.ok(read(dump).length > 1_000_000);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
});

test('a guest that panicked, and whose QEMU goes: the hook is run all the same, without a monitor, and before the hook end', async (t) => {
  const lab = new Lab(t);
  lab.hook('GUEST_PANICKED', tells(lab));
  lab.hook('SHUTDOWN', tells(lab));
  lab.hook('end', `#!/bin/sh\necho "end" >>${lab.file('order')}; cat ${lab.file('told')} >>${lab.file('order')}\n`);
  const qemu = ['-device', 'pvpanic', '-action', 'panic=shutdown'];
  const trap = await lab.startGuest({ qemu, options: hooks(lab), env: { QMP_FD: '7' } });
  await human(lab, 'o /b 0x505 1');
  assert.equal(await trap.status(), 123, trap.stderr);
  const all = told(lab);
  assert.deepEqual(
    all.map(({ name }) => name),
    ['GUEST_PANICKED', 'SHUTDOWN'],
  );
  for (const { fd, monitor } of all.slice(1)) assert.deepEqual([fd, monitor], ['none', 'no']);
  assert.match(read(lab.file('order')), /^end\nGUEST_PANICKED .*\nSHUTDOWN /);
  await lab.assertNothingLeft();
});

test('the watchdog of a guest that hangs: the hook is told, and the guest is reset', async (t) => {
  const lab = new Lab(t);
  lab.hook('WATCHDOG', tells(lab));
  const trap = await lab.startGuest({ temper: 'hung', qemu: ['-device', 'ib700'], options: hooks(lab) });
  // Bits 0 to 3 of the port are the time, 0xf the shortest; the guest is the one to write it again.
  await human(lab, 'o /b 0x443 0xf');
  await lab.guestSaid('up', 2);
  const [watchdog] = await until('it is told', () => (told(lab).length > 0 ? told(lab) : null));
  assert.deepEqual([watchdog?.name, watchdog?.event.data['action']], ['WATCHDOG', 'reset']);
  trap.kill('SIGQUIT');
  assert.equal(await trap.status(), 124, trap.stderr);
});

test('a disk that fails: the guest stands still, and the hook lets it go on', async (t) => {
  const lab = new Lab(t);
  lab.hook('BLOCK_IO_ERROR', tells(lab, 'until qmp query-status | grep -q io-error; do sleep 0.05; done; qmp cont'));
  lab.guest();
  const trap = lab.start({
    command: [
      ...['qemu-system-x86_64', '-M', 'pc', '-m', '16', '-display', 'none', '-net', 'none'],
      ...['-serial', `file:${lab.serial}`, '-drive'],
      `if=none,id=disk,format=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename=${lab.file('obedient.img')},file.inject-error.0.event=read_aio,file.inject-error.0.once=on,file.inject-error.0.errno=5`,
      ...['-device', 'ide-hd,drive=disk,rerror=stop,cyls=16,heads=16,secs=63'],
    ],
    options: hooks(lab),
  });
  const [error] = await until('it is told', () => (told(lab).length > 0 ? told(lab) : null));
  assert.equal(error?.event.data['action'], 'stop');
  const { client, socket } = await monitor(lab);
  await until('the guest goes on', async () => {
    const { status } = (await client.execute('query-status')) as { readonly status: string };
    return status === 'running';
  });
  socket.destroy();
  trap.kill('SIGQUIT');
  assert.equal(await trap.status(), 124, trap.stderr);
});

test(
  'a disk that is full: Linux stands still as it writes, the hook lets it go on, and its file system is clean',
  needsLinux,
  async (t) => {
    const lab = new Lab(t);
    const linux = new Linux(lab);
    lab.hook('BLOCK_IO_ERROR', tells(lab, `until qmp query-status | grep -q io-error; do sleep 0.05; done; qmp cont`));
    const trap = lab.start({ command: linux.command({ words: ['updates'], full: 'once' }), options: hooks(lab) });
    await until('the hook was run', () => told(lab).length > 0);
    const [error] = told(lab);
    assert.deepEqual(
      [error?.event.data['operation'], error?.event.data['nospace'], error?.monitor],
      ['write', true, 'yes'],
    );
    await linux.says(says.up);
    trap.kill('SIGTERM');
    assert.equal(await trap.status(), 0, trap.stderr);
    assert.equal(linux.said(says.bye), 1);
    assert.equal(linux.needsRecovery(), false);
  },
);

test("nothing of it delays a signal's hook: that runs while an event's hook hangs, and the guest goes down", async (t) => {
  const lab = new Lab(t);
  lab.hook('RESET', '#!/bin/sh\necho up\nexec sleep 1000\n');
  lab.hook('SIGUSR1', '#!/bin/sh\nqmp query-status\n');
  const trap = await lab.startGuest({ options: hooks(lab) });
  await execute(lab, 'system_reset');
  await trap.event('hook-output');
  trap.kill('SIGUSR1');
  await until('the hook of the signal ends', () =>
    trap.events('hook-end').some(({ signal, outcome }) => signal === 'SIGUSR1' && outcome === 'done'),
  );
  assert.equal(trap.events('hook-end').filter((line) => line['occasion'] === 'RESET').length, 0);
  await lab.guestSaid('up', 2);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
  assert.equal(lab.said('bye'), 1);
  const ms = Number(trap.verdict['ms']);
  assert.ok(ms < 9_000, 'the time of a stop ends with QEMU');
  const end = trap.events('hook-end').find((line) => line['occasion'] === 'RESET');
  assert.deepEqual([end?.['outcome'], end?.level], ['failed', 'warning'], 'and the one that hangs is stopped');
  await lab.assertNothingLeft();
});

test('QEMU has gone: hooks that hang, deaf to SIGTERM, share the ten seconds, and each of the others has its run', async (t) => {
  const lab = new Lab(t);
  for (const name of ['POWERDOWN', 'RESET'])
    lab.hook(name, "#!/bin/sh\ntrap '' TERM\necho up\nwhile :; do sleep 1000; done\n");
  lab.hook('SHUTDOWN', tells(lab));
  lab.hook('end', `#!/bin/sh\ncp ${lab.file('told')} ${lab.file('before-end')}\n`);
  const trap = await lab.startGuest({ options: hooks(lab) });
  await execute(lab, 'system_reset');
  await trap.event('hook-output');
  await lab.guestSaid('up', 2);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
  const ends = trap
    .events('hook-end')
    .filter((line) => line['occasion'] !== undefined)
    .map((line) => `${line['occasion']} ${line['outcome']}`);
  // One reset is three RESETs: those that come while the first is served are served together.
  assert.deepEqual([...new Set(ends)].sort(), ['POWERDOWN failed', 'RESET failed', 'SHUTDOWN done', 'end done']);
  assert.equal(ends.at(-1), 'end done');
  assert.match(read(lab.file('before-end')), /^SHUTDOWN 1 no none /);
  assert.deepEqual(trap.events('events-dropped'), []);
  await lab.assertNothingLeft();
});

test('QEMU has gone: SIGTERM is told of and changes nothing, SIGQUIT stops the hooks that are left', async (t) => {
  const lab = new Lab(t);
  lab.hook('SHUTDOWN', '#!/bin/sh\necho "as $1"\nexec sleep 1000\n');
  lab.hook('end', `#!/bin/sh\necho "as $1"\nexec sleep 1000\n`);
  const trap = await lab.startGuest({ options: hooks(lab) });
  trap.kill('SIGTERM');
  const says = (what: string) => until(what, () => trap.events('hook-output').some(({ message }) => message === what));
  const told = (signal: string) =>
    until(`${signal} is told`, () => trap.events('signal-after-qemu').some((line) => line['signal'] === signal));
  await says('as SHUTDOWN');
  // QEMU may not be reaped yet.
  await until('SIGTERM is told of', () => {
    trap.kill('SIGTERM');
    return trap.events('signal-after-qemu').length > 0;
  });
  assert.equal(trap.events('hook-end').filter((line) => line['occasion'] === 'SHUTDOWN').length, 0);
  trap.kill('SIGQUIT');
  await told('SIGQUIT');
  await says('as end');
  const [end] = trap.events('hook-end').filter((line) => line['occasion'] === 'SHUTDOWN');
  assert.match(end?.message ?? '', /a signal came$/);
  trap.kill('SIGQUIT');
  await until('the hook end is stopped', () => trap.events('hook-end').some((line) => line['occasion'] === 'end'));
  assert.equal(await trap.status(), 0, trap.stderr);
  await lab.assertNothingLeft();
});

test('a storm of one event is a few runs, and each event is counted', async (t) => {
  const lab = new Lab(t);
  lab.hook('RESUME', tells(lab, 'sleep 0.3'));
  const trap = await lab.startGuest({ options: hooks(lab) });
  const first = told(lab).length;
  const { client, socket } = await monitor(lab);
  for (let i = 0; i < 200; i++) {
    await client.execute('stop');
    await client.execute('cont');
  }
  socket.destroy();
  await until('all are counted', () => {
    const counts = told(lab)
      .slice(first)
      .map(({ count }) => count);
    return counts.reduce((sum, count) => sum + count, 0) === 200;
  });
  assert.ok(told(lab).length - first < 100, 'many at a time');
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
});

test('ready runs when the guest first runs, with a monitor, and the VM is told to be ready after it', async (t) => {
  const lab = new Lab(t);
  lab.hook('ready', `#!/bin/sh\nsleep 0.5\nqmp query-status >${lab.file('status')} && echo "$1"\n`);
  const trap = await lab.startGuest({ options: hooks(lab) });
  const order = trap.log.map(({ event }) => event).filter((event) => ['hook-end', 'ready'].includes(event));
  assert.deepEqual(order, ['hook-end', 'ready']);
  assert.match(read(lab.file('status')), /running/);
  assert.equal(trap.events('hook-output')[0]?.message, 'ready');
  await execute(lab, 'system_reset');
  await lab.guestSaid('up', 2);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
  assert.equal(trap.events('hook-start').filter((line) => line['occasion'] === 'ready').length, 1);
});

test('a ready that fails is a warning, and the VM is ready all the same; a stop does not wait for one that hangs', async (t) => {
  const lab = new Lab(t);
  lab.hook('ready', '#!/bin/sh\nexit 3\n');
  const failing = await lab.startGuest({ options: hooks(lab) });
  assert.equal(failing.events('hook-end')[0]?.level, 'warning');
  failing.kill('SIGTERM');
  assert.equal(await failing.status(), 0, failing.stderr);
  lab.hook('ready', '#!/bin/sh\necho up\nexec sleep 1000\n');
  const hanging = lab.start({ options: hooks(lab) });
  await hanging.event('hook-output');
  // QEMU writes its serial line anew.
  await until('the guest of the second is up', () => lab.said('up') === 1 && lab.said('bye') === 0);
  hanging.kill('SIGTERM');
  assert.equal(await hanging.status(), 0, hanging.stderr);
  assert.equal(lab.said('bye'), 1);
  assert.deepEqual(hanging.events('ready'), [], 'it never was ready');
  await lab.assertNothingLeft();
});

test('after a take-over ready runs again, and events have their hooks', async (t) => {
  const lab = new Lab(t);
  lab.hook('ready', `#!/bin/sh\necho ready >>${lab.file('told-ready')}\n`);
  lab.hook('RESET', tells(lab));
  const options = [...hooks(lab), '--on-death', 'keep'];
  const first = await lab.startGuest({ options });
  await first.die();
  const second = lab.start({ options });
  await second.event('takeover');
  await second.ready();
  assert.equal(read(lab.file('told-ready')), 'ready\nready\n');
  await execute(lab, 'system_reset');
  const [reset] = await until('it is told', () => (told(lab).length > 0 ? told(lab) : null));
  assert.equal(reset?.monitor, 'yes');
  await lab.guestSaid('up', 2);
  second.kill('SIGTERM');
  assert.equal(await second.status(), 0, second.stderr);
});

test('an event during a shutdown has its run, and changes nothing of it', async (t) => {
  const lab = new Lab(t);
  for (const name of ['POWERDOWN', 'STOP', 'RESUME']) lab.hook(name, tells(lab));
  const trap = await lab.startGuest({ temper: 'lingering', options: hooks(lab) });
  const first = told(lab).length;
  trap.kill('SIGTERM');
  await lab.guestSaid('pressed');
  await execute(lab, 'stop');
  assert.equal(await trap.status(), 0, trap.stderr);
  assert.equal(lab.said('bye'), 1);
  const names = told(lab).slice(first);
  for (const name of ['POWERDOWN', 'STOP', 'RESUME'])
    assert.ok(
      names.some((each) => each.name === name),
      name,
    );
  assert.equal(names.find(({ name }) => name === 'STOP')?.fd, '3');
  await lab.assertNothingLeft();
});

test('many events in a shutdown: the hook of each has its monitor, and none waits for the one before to be forgotten', async (t) => {
  const lab = new Lab(t);
  lab.hook('STOP', tells(lab));
  const trap = await lab.startGuest({ temper: 'stubborn', options: [...hooks(lab), '--timeout', '10'] });
  const first = told(lab).length;
  trap.kill('SIGTERM');
  await trap.event('powerdown');
  const { client, socket } = await monitor(lab);
  for (let stops = 1; stops <= 4; stops++) {
    await until('qemu-trap has let the guest go on', async () => (await runState(client)) === 'running');
    await client.execute('stop');
    await until(`stop ${stops} is told`, () => told(lab).length >= first + stops);
  }
  socket.destroy();
  assert.deepEqual(
    told(lab)
      .slice(first)
      .map(({ fd }) => fd),
    Array.from({ length: 4 }, () => '3'),
  );
  trap.kill('SIGQUIT');
  assert.equal(await trap.status(), 124, trap.stderr);
});

test('--attach: a QEMU that somebody else has started has hooks for its events, and ready', async (t) => {
  const lab = new Lab(t);
  lab.hook('RESET', tells(lab));
  lab.hook('ready', `#!/bin/sh\nqmp query-status >${lab.file('status')}\n`);
  lab.spawn([...lab.guest(), '-qmp', `unix:${lab.file('qmp')},server=on,wait=off`]);
  await lab.guestSaid('up');
  const trap = lab.start({ command: [], options: ['--attach', lab.file('qmp'), ...hooks(lab)] });
  await trap.ready();
  assert.match(read(lab.file('status')), /running/);
  await execute(lab, 'system_reset');
  const [reset] = await until('it is told', () => (told(lab).length > 0 ? told(lab) : null));
  assert.deepEqual([reset?.name, reset?.monitor, reset?.fd], ['RESET', 'yes', '3']);
  await lab.guestSaid('up', 2);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
  await lab.assertNothingLeft();
});

test('an event in steps, and a hook that is not to be trusted', async (t) => {
  const lab = new Lab(t);
  mkdirSync(join(lab.hooks, 'STOP.d'), { mode: 0o755 });
  lab.hook('STOP.d/10-a', tells(lab));
  lab.hook('STOP.d/20-b', tells(lab));
  chmodSync(lab.hook('RESUME', tells(lab)), 0o777);
  const trap = await lab.startGuest({ options: hooks(lab) });
  await execute(lab, 'stop');
  await until('both steps are told', () => told(lab).filter(({ name }) => name === 'STOP').length === 2);
  for (const { event } of told(lab)) assert.equal(event.event, 'STOP', 'each step has it on its stdin');
  await execute(lab, 'cont');
  const refused = await until('it is refused', () =>
    trap.events('hook-end').find((line) => line['occasion'] === 'RESUME'),
  );
  assert.equal(refused.level, 'warning');
  assert.match(refused.message, /cannot be run/);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
});

test('what the guest can influence is in no variable, no argument and no line of the log', async (t) => {
  const lab = new Lab(t);
  lab.hook(
    'RESET',
    `#!/bin/sh\nenv >${lab.file('env')}.part; echo "$@" >${lab.file('arguments')}; mv ${lab.file('env')}.part ${lab.file('env')}\n`,
  );
  const trap = await lab.startGuest({ options: hooks(lab) });
  await execute(lab, 'system_reset');
  const env = await until('it is told', () => read(lab.file('env')) || null);
  assert.doesNotMatch(env, /"event"|timestamp/);
  assert.match(env, /^QEMU_TRAP_COUNT=[123]$/m);
  assert.doesNotMatch(env, /^QEMU_TRAP_SIGNAL=/m);
  assert.equal(read(lab.file('arguments')), 'RESET\n');
  await lab.guestSaid('up', 2);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
});

test('a hook that brings about its own event runs once a second, and each event is counted', async (t) => {
  const lab = new Lab(t);
  lab.hook('RESET', tells(lab, 'qmp system_reset'));
  const trap = await lab.startGuest({ options: hooks(lab) });
  const from = performance.now();
  await execute(lab, 'system_reset');
  await until('it has run three times', () => told(lab).length >= 3);
  const seconds = (performance.now() - from) / 1_000;
  assert.ok(seconds > 1.9, `three runs in ${seconds} s`);
  assert.ok(told(lab).length < seconds + 2);
  trap.kill('SIGQUIT');
  assert.equal(await trap.status(), 124, trap.stderr);
});

test('negative control: without such hooks nothing is run', async (t) => {
  const lab = new Lab(t);
  const trap = await lab.startGuest({ options: hooks(lab) });
  await execute(lab, 'system_reset');
  await lab.guestSaid('up', 2);
  trap.kill('SIGTERM');
  assert.equal(await trap.status(), 0, trap.stderr);
  assert.deepEqual(
    trap.events('hook-start').map((line) => line['occasion'] ?? null),
    [null],
  );
});
