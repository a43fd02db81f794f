import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatLive } from '../../src/status/live-line.js';
import { usesTerminal } from '../../src/qemu/argv.js';
import { guestSays } from '../../src/commands/try/guest.js';
import { Lab, until } from '../support/lab.js';
import { atTerminal, stdioGuest } from '../support/terminal.js';

const live = /\d s left: SIGINT, waiting for the guest to shut down \[/;

/** What stays on a terminal: a carriage return with an erasure takes a line away, and colours are no text. */
function screen(text: string): string {
  return text
    .split('\n')
    .map((line) => line.replace(/\r$/, '').split('\r\x1b[K').at(-1) as string)
    .join('\n')
    .replaceAll(/\x1b\[[?\d;]*[a-zA-Z]/g, '');
}

test('while a shutdown waits, a terminal shows one live line, which the log and the end take away', async (t) => {
  const lab = new Lab(t);
  const terminal = atTerminal(t, lab, lab.guest('stubborn'), { log: 'terminal', options: ['--timeout', '3'] });
  await lab.guestSaid('up');
  terminal.type('\x03');
  await until('the live line', () => live.test(terminal.seen.text));
  await until('it is the last thing there', () => live.test(screen(terminal.seen.text).split('\n').at(-1) as string));
  const bar = (): number =>
    /\[\x1b\[3\dm(#*)-*\x1b\[0m\], then QEMU is told to quit/.exec(
      terminal.seen.text.split('\r\x1b[K').at(-1) as string,
    )?.[1]?.length ?? 99;
  await until('the bar gets shorter', () => bar() < 15);
  assert.equal(await terminal.exited, 124);
  const left = screen(terminal.seen.text);
  assert.doesNotMatch(left, live);
  assert.match(
    left,
    /waiting for the guest to shut down; to cut it off, press Ctrl-C again after a second, or Ctrl-\\ at once\n/,
  );
  assert.match(left, /exit status 124\n$/);
  assert.doesNotMatch(left, /s left/);
});

test('NO_COLOR takes the colours away, a dumb terminal and a file get plain log lines only', async (t) => {
  for (const [env, isThere] of [
    [{ NO_COLOR: '1' }, true],
    [{ TERM: 'dumb' }, false],
  ] as const) {
    const lab = new Lab(t);
    const terminal = atTerminal(t, lab, lab.guest('lingering'), { log: 'terminal', env });
    await lab.guestSaid('up');
    terminal.type('\x03');
    assert.equal(await terminal.exited, 0);
    assert.equal(live.test(terminal.seen.text), isThere, JSON.stringify(env));
    assert.doesNotMatch(terminal.seen.text, /\x1b\[\d+m/);
    if (!isThere) assert.doesNotMatch(terminal.seen.text, /\x1b/);
  }
  const lab = new Lab(t);
  const terminal = atTerminal(t, lab, lab.guest('lingering'));
  await lab.guestSaid('up');
  terminal.type('\x03');
  assert.equal(await terminal.exited, 0);
  assert.doesNotMatch(terminal.log(), /\x1b/);
});

test('a guest that has the terminal keeps it: no live line', async (t) => {
  const lab = new Lab(t);
  const terminal = atTerminal(t, lab, stdioGuest(lab, 'lingering'), { log: 'terminal' });
  await until('the guest is up, on the terminal', () => terminal.seen.text.includes(guestSays.up));
  terminal.type('\x03');
  assert.equal(await terminal.exited, 0);
  assert.ok(terminal.seen.text.includes(guestSays.bye));
  assert.doesNotMatch(terminal.seen.text, live);
  for (const words of [
    ['-nographic'],
    ['-serial', 'mon:stdio'],
    ['-monitor', 'stdio'],
    ['-chardev', 'stdio,id=c'],
    ['-display', 'curses'],
  ])
    assert.ok(usesTerminal(['qemu', ...words]), words.join(' '));
  for (const words of [
    ['-serial', 'file:stdio'],
    ['-name', 'stdio'],
    ['-display', 'none'],
  ])
    assert.ok(!usesTerminal(['qemu', ...words]), words.join(' '));
});

test('a terminal that was stopped (Ctrl-S) fills up with no live line, and keeps the last words', async (t) => {
  const lab = new Lab(t);
  const terminal = atTerminal(t, lab, lab.guest('stubborn'), { log: 'terminal', options: ['--timeout', '2'] });
  await lab.guestSaid('up');
  terminal.type('\x13');
  terminal.type('\x03');
  assert.equal(await terminal.exited, 124);
  assert.equal(lab.left().length, 0);
});

test('in the background of a terminal no live line is drawn, whatever else is told there', async (t) => {
  for (const job of ['background', 'foreground'] as const) {
    const lab = new Lab(t);
    const terminal = atTerminal(t, lab, lab.guest('lingering'), {
      log: 'terminal',
      shell: (command) =>
        job === 'foreground' ? `echo trap $$; exec ${command}` : `set -m; ${command} & echo trap $!; wait $!`,
    });
    await lab.guestSaid('up');
    const [, pid] = await until('its pid is told', () => /trap (\d+)/.exec(terminal.seen.text));
    process.kill(Number(pid), 'SIGINT');
    assert.equal(await terminal.exited, 0, terminal.seen.text);
    assert.match(terminal.seen.text, /SIGINT: shutting down/);
    assert.equal(live.test(terminal.seen.text), job === 'foreground', terminal.seen.text);
  }
});

test('at 60 columns the seconds are there, and wrapping is given back', async (t) => {
  const lab = new Lab(t);
  const terminal = atTerminal(t, lab, lab.guest('lingering'), {
    log: 'terminal',
    shell: (command) => `stty cols 60; exec ${command}`,
  });
  await lab.guestSaid('up');
  terminal.type('\x03');
  assert.equal(await terminal.exited, 0);
  const drawn = terminal.seen.text.split('\x1b[?7l').slice(1);
  assert.ok(drawn.length > 0, 'the live line was drawn');
  for (const each of drawn) {
    assert.match(each.slice(0, 60), /^\d+ s left: SIGINT, /);
    assert.match(each, /\x1b\[\?7h/, 'each time wrapping is given back');
  }
  const [left] = drawn.slice(-1);
  assert.match(left as string, /\r\x1b\[K\x1b\[\?7h/, 'also as the line is taken away');
});

test('the words of the live line', () => {
  const serving = {
    signal: 'SIGTERM',
    waitsFor: 'quit',
    since: 0,
    until: 10_000,
    next: 'kill',
    button: null,
    writing: null,
    mostUntil: null,
  } as const;
  assert.equal(
    formatLive(serving, 0, false),
    `10 s left: SIGTERM, waiting for QEMU to quit [${'#'.repeat(20)}], then QEMU is killed`,
  );
  assert.equal(
    formatLive(serving, 9_100, false),
    `1 s left: SIGTERM, waiting for QEMU to quit [##${'-'.repeat(18)}], then QEMU is killed`,
  );
  assert.equal(
    formatLive({ ...serving, until: 0 }, 0, false),
    `0 s left: SIGTERM, waiting for QEMU to quit [${'-'.repeat(20)}], then QEMU is killed`,
  );
  assert.equal(
    formatLive({ ...serving, waitsFor: 'kill', until: null, next: 'none' }, 2_500, true),
    '2 s so far: SIGTERM, waiting for SIGKILL to take effect',
  );
  assert.equal(
    formatLive({ ...serving, waitsFor: 'guest', until: null, next: 'quit' }, 75_000, true),
    '75 s so far: SIGTERM, waiting until the guest shuts down',
  );
});
