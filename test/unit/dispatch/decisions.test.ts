import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nextTick, isAtHook } from '../../../src/dispatch/state.js';
import {
  type Script,
  answers,
  begun,
  ends,
  event,
  exits,
  found,
  is,
  play,
  poweredOff,
  powerdown,
  reset,
  resumed,
  ruleOf,
  shows,
  signal,
  stopped,
  typed,
  up,
  wakeup,
  windowClosed,
  wrote,
} from './play.js';

/*
 * What the core decides, and tells, word for word: `SECONDS EFFECT` and `SECONDS - NOTICE`, with a time to kill of 5 s,
 * and a press every 10 s.
 */

function decides(what: string, script: Script, options: Parameters<typeof play>[1], expected: string): void {
  test(what, () => {
    const lines = expected.trim().split('\n');
    assert.deepEqual(
      play(script, options).lines,
      lines.map((line) => line.trim()),
    );
  });
}

const hooked = ruleOf('SIGTERM', ['hook', 'power-button'], 60);
const button = ruleOf('SIGTERM', ['power-button'], 60);
const every = ruleOf('SIGTERM', ['hook', 'command', 'power-button'], 60);
const noButton = ruleOf('SIGTERM', ['hook'], 20);
const kills = ruleOf('SIGTERM', ['power-button'], 8, 'kill');
const beside = ruleOf('SIGHUP', ['hook', 'command'], 20, 'none');
const besideHook = ruleOf('SIGUSR1', ['hook'], 20, 'none');
const besidePress = ruleOf('SIGUSR1', ['power-button'], 20, 'none');
const ignored = ruleOf('SIGUSR2', [], 0, 'none');
const int = ruleOf('SIGINT', ['hook', 'power-button'], 60);
const force = ruleOf('SIGQUIT', [], 0);
const power = ruleOf('SIGPWR', ['power-button'], 60);
const once = { pressGaps: [] };
const tick = { kind: 'tick' } as const;

// The stages of a shutdown, and its end.

decides(
  'a hook that hangs is stopped 15 s before a long deadline, and QEMU that heeds nothing is given up on',
  begun(ruleOf('SIGTERM', ['hook', 'power-button'], 120)),
  { untilS: 200 },
  `
    0 run-hook SIGTERM /hook 120000
    0 - shutdown SIGTERM 120000 quit false
    105 stop-hook SIGTERM timeout
    105 press SIGTERM true
    105 - next-link SIGTERM power-button hook-timeout
    115 press SIGTERM true
    120 silence-hooks
    120 quit
    120 - default-action SIGTERM quit deadline
    125 kill
    125 - kill deadline
    155 abandon
    155 - abandoned
  `,
);
decides(
  'a hook that fails hands over to the button at once',
  [...begun(hooked), [1, exits('SIGTERM')], [1, ends('SIGTERM', 'failed')], [1.1, powerdown]],
  { untilS: 61 },
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    1 press SIGTERM true
    1 - next-link SIGTERM power-button hook-failed
    11 press SIGTERM true
    21 press SIGTERM true
    31 press SIGTERM true
    41 press SIGTERM true
    45 press SIGTERM true
    55 press SIGTERM true
    60 silence-hooks
    60 quit
    60 - default-action SIGTERM quit deadline
  `,
);
decides(
  'a hook that ends well, and presses nothing, has the button pressed in the last quarter',
  [...begun(hooked), [1, exits('SIGTERM')], [1, ends('SIGTERM', 'done')]],
  { untilS: 56 },
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    45 press SIGTERM true
    45 - next-link SIGTERM power-button reserve
    55 press SIGTERM true
  `,
);
decides(
  'a hook that ends well has the command and the button in the last quarter, one right after the other',
  [...begun(every), [1, exits('SIGTERM')], [1, ends('SIGTERM', 'done')]],
  { untilS: 46 },
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    45 command SIGTERM savevm nightly
    45 press SIGTERM true
    45 - next-link SIGTERM command reserve
    45 - next-link SIGTERM power-button little-time
  `,
);
decides(
  'a command that succeeds has the button after it in the last quarter',
  [...begun(every), [1, ends('SIGTERM', 'failed')], [2, answers('SIGTERM', true)]],
  { untilS: 46 },
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    1 command SIGTERM savevm nightly
    1 - next-link SIGTERM command hook-failed
    45 press SIGTERM true
    45 - next-link SIGTERM power-button command-done
  `,
);
decides(
  'a command without a hook before it, that succeeds, has the button after it in the last quarter',
  [...begun(ruleOf('SIGTERM', ['command', 'power-button'], 60)), [2, answers('SIGTERM', true)]],
  { untilS: 46 },
  `
    0 command SIGTERM savevm nightly
    0 - shutdown SIGTERM 60000 quit false
    45 press SIGTERM true
    45 - next-link SIGTERM power-button command-done
  `,
);
decides(
  'a command that fails has the button after it at once',
  [...begun(every), [1, ends('SIGTERM', 'failed')], [2, answers('SIGTERM', false)]],
  { untilS: 2 },
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    1 command SIGTERM savevm nightly
    1 - next-link SIGTERM command hook-failed
    2 press SIGTERM true
    2 - next-link SIGTERM power-button command-failed
  `,
);
decides(
  'a command that is not answered has the button after it in the last quarter, and its late answer changes nothing',
  [...begun(every), [1, ends('SIGTERM', 'failed')], [46, answers('SIGTERM', false)]],
  { untilS: 46 },
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    1 command SIGTERM savevm nightly
    1 - next-link SIGTERM command hook-failed
    45 press SIGTERM true
    45 - next-link SIGTERM power-button little-time
  `,
);
decides(
  'monitorcommand=none: a hook that fails is followed by nothing but the default action',
  [...begun(noButton), [1, ends('SIGTERM', 'failed')]],
  { untilS: 21 },
  `
    0 run-hook SIGTERM /hook 20000
    0 - shutdown SIGTERM 20000 quit false
    20 silence-hooks
    20 quit
    20 - default-action SIGTERM quit deadline
  `,
);
decides(
  'default=kill: SIGKILL at the deadline, and nothing else is told of it',
  [...begun(kills), [0.1, powerdown]],
  { untilS: 39 },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 8000 kill false
    6 press SIGTERM true
    8 silence-hooks
    8 kill
    8 - default-action SIGTERM kill deadline
    38 abandon
    38 - abandoned
  `,
);
decides(
  'default=kill: a guest that has powered off is no reason to kill',
  [...begun(kills), [1, is('shutdown')]],
  {},
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 8000 kill false
    1 silence-hooks
    1 quit
  `,
);
decides(
  'a guest that panics and stays is not waited for',
  [...begun(hooked), [1, event({ event: 'GUEST_PANICKED', action: 'pause' })], [1, stopped], [1, is('guest-panicked')]],
  { untilS: 6 },
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    1 silence-hooks
    1 stop-hook SIGTERM qemu-exits
    1 quit
    1 - default-action SIGTERM quit panicked
    6 kill
    6 - kill panicked
  `,
);
decides(
  'a guest that had panicked before is not asked anything',
  [
    [0, up('guest-panicked')],
    [0, signal(hooked)],
    [0, is('guest-panicked')],
  ],
  {},
  `
    0 ask-run-state
    0 - shutdown SIGTERM 60000 quit false
    0 silence-hooks
    0 quit
    0 - default-action SIGTERM quit panicked
  `,
);
decides(
  'a guest that has powered off under its hook, in a QEMU that stays',
  [...begun(hooked), [1, is('shutdown')]],
  {},
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    1 silence-hooks
    1 stop-hook SIGTERM guest-off
    1 quit
  `,
);
decides(
  'what is known before the monitor answers is no reason to quit yet',
  [
    [0, signal(button)],
    [1, is('shutdown')],
    [2, up('shutdown')],
  ],
  {},
  `
    0 - shutdown SIGTERM 60000 quit true
    2 silence-hooks
    2 quit
  `,
);

// The power button.

decides(
  'whoever presses first, qemu-trap goes on from there; its own POWERDOWN counts once',
  [
    ...begun(hooked),
    [1, powerdown],
    [1.5, ends('SIGTERM', 'done')],
    [5, powerdown],
    [15.1, powerdown],
    [16, powerdown],
  ],
  { untilS: 46 },
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    15 press SIGTERM true
    26 press SIGTERM true
    36 press SIGTERM true
    45 press SIGTERM true
  `,
);
decides(
  'a hook that presses and stays is left alone in the last quarter; the button is pressed once more there',
  [...begun(hooked), [1, powerdown]],
  { untilS: 60 },
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    11 press SIGTERM true
    21 press SIGTERM true
    31 press SIGTERM true
    41 press SIGTERM true
    45 press SIGTERM true
    55 press SIGTERM true
    60 silence-hooks
    60 stop-hook SIGTERM timeout
    60 quit
    60 - default-action SIGTERM quit deadline
  `,
);
decides(
  '--press once: no second press, whoever made the first',
  [...begun(hooked), [1, powerdown]],
  { untilS: 60, limits: once },
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    60 silence-hooks
    60 stop-hook SIGTERM timeout
    60 quit
    60 - default-action SIGTERM quit deadline
  `,
);
decides(
  'a paused guest is let go on at its first press, and whenever it is found so afterwards',
  [
    [0, up('paused')],
    [0, signal(hooked)],
    [0, is('paused')],
    [0.1, powerdown],
    [0.2, powerdown],
    [1, is('paused')],
    [2, is('running')],
  ],
  { untilS: 2 },
  `
    0 ask-run-state
    0 - shutdown SIGTERM 60000 quit false
    0 run-hook SIGTERM /hook 60000
    0.1 let-go-on SIGTERM false
    1.1 let-go-on SIGTERM true
  `,
);
decides(
  'one that stands still again and again is let go on once a second, and after a while it is told again',
  [
    ...begun(hooked),
    [1, powerdown],
    ...[1.1, 1.102, 2.101, 2.102].map((at) => [at, is('io-error')] as const),
    [3.5, is('running')],
    [9.1, is('io-error')],
    [9.2, is('running')],
  ],
  { untilS: 10.5 },
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    1.1 let-go-on SIGTERM false
    2.1 let-go-on SIGTERM true
    3.1 let-go-on SIGTERM true
    9.1 let-go-on SIGTERM false
  `,
);
decides(
  'a guest that is found paused is not let go on before its first press, nor when QEMU exits',
  [...begun(hooked), [1, is('paused')], [2, powerdown], [3, poweredOff], [4, is('paused')]],
  {},
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    2 let-go-on SIGTERM false
    3 silence-hooks
    3 stop-hook SIGTERM guest-off
  `,
);
decides(
  'a reset forgets the press: the next one comes when it is due',
  [...begun(button), [0.1, powerdown], [3, reset()]],
  { untilS: 14 },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 60000 quit false
    10 press SIGTERM true
  `,
);
decides(
  'a reset with less time left than a gap: the next press comes at once',
  [...begun(button), [0.1, powerdown], [52, reset()]],
  { untilS: 59 },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 60000 quit false
    10 press SIGTERM true
    20 press SIGTERM true
    30 press SIGTERM true
    40 press SIGTERM true
    45 press SIGTERM true
    52 press SIGTERM true
  `,
);
decides(
  'a reset brings a far press nearer, to the last of the gaps',
  [...begun(button), [0.1, powerdown], [3, reset()]],
  { untilS: 9, limits: { pressGaps: [30_000, 5_000] } },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 60000 quit false
    8 press SIGTERM true
  `,
);
decides(
  '--press once: the guest that comes up after a reset has its one press',
  [...begun(button), [0.1, powerdown], [3, reset()], [18.1, powerdown]],
  { untilS: 59, limits: once },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 60000 quit false
    18 press SIGTERM true
  `,
);
decides(
  '--press once: an event that is no reset brings no press',
  [...begun(button), [0.1, powerdown], [3, stopped]],
  { untilS: 59, limits: once },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 60000 quit false
  `,
);
decides(
  'after a reset a POWERDOWN is no answer to the press before it',
  [...begun(button), [3, reset()], [5, powerdown]],
  { untilS: 15 },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 60000 quit false
    15 press SIGTERM true
  `,
);
decides(
  'a guest that resets by itself instead of powering off has its button pressed',
  [...begun(hooked), [1, ends('SIGTERM', 'done')], [2, reset()]],
  { untilS: 2 },
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    2 press SIGTERM true
    2 - next-link SIGTERM power-button guest-reset
  `,
);
decides(
  'a guest that resets in the last quarter under a hook that had pressed: the press comes when the hook ends, not later',
  [...begun(hooked), [0.5, powerdown], [48, reset()], [49, exits('SIGTERM')], [49, ends('SIGTERM', 'done')]],
  { untilS: 50, limits: { pressGaps: [5_000] } },
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    5.5 press SIGTERM true
    10.5 press SIGTERM true
    15.5 press SIGTERM true
    20.5 press SIGTERM true
    25.5 press SIGTERM true
    30.5 press SIGTERM true
    35.5 press SIGTERM true
    40.5 press SIGTERM true
    45 press SIGTERM true
    49 press SIGTERM true
    49 - next-link SIGTERM power-button reserve
  `,
);
decides(
  'a guest that resets in the last quarter under a command: the press comes when QEMU has answered, not later',
  [...begun(every), [0.5, ends('SIGTERM', 'failed')], [0.6, powerdown], [48, reset()], [49, answers('SIGTERM', true)]],
  { untilS: 50, limits: { pressGaps: [5_000] } },
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    0.5 command SIGTERM savevm nightly
    0.5 - next-link SIGTERM command hook-failed
    5.6 press SIGTERM true
    10.6 press SIGTERM true
    15.6 press SIGTERM true
    20.6 press SIGTERM true
    25.6 press SIGTERM true
    30.6 press SIGTERM true
    35.6 press SIGTERM true
    40.6 press SIGTERM true
    45 press SIGTERM true
    49 press SIGTERM true
    49 - next-link SIGTERM power-button command-done
  `,
);
decides(
  'a hook that ends in the last quarter, and whose press has been repeated there, is followed by nothing at once',
  [...begun(hooked), [0.5, powerdown], [49, exits('SIGTERM')], [49, ends('SIGTERM', 'done')]],
  { untilS: 50, limits: { pressGaps: [50_000] } },
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    45 press SIGTERM true
  `,
);
decides(
  'a guest that was reset from outside has not answered the shutdown',
  [...begun(hooked), [1, ends('SIGTERM', 'done')], [2, reset(false)]],
  { untilS: 13 },
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
  `,
);

// A hook that says "not now".

decides(
  '"not now" before a press calls the shutdown off',
  [...begun(hooked), [1, signal(hooked)], [2, exits('SIGTERM')], [2, ends('SIGTERM', 'not-now')]],
  { untilS: 61 },
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    2 - dropped SIGTERM
    2 - coalesced SIGTERM 1
  `,
);
decides(
  '"not now" after a press is too late',
  [...begun(hooked), [1, powerdown], [2, exits('SIGTERM')], [2, ends('SIGTERM', 'not-now')]],
  { untilS: 11 },
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    2 - too-late SIGTERM
    11 press SIGTERM true
  `,
);
decides(
  '"not now" has the first of those that waited take its turn, and the others wait for that one',
  [
    ...begun(hooked),
    [1, signal(int)],
    [2, signal(power)],
    [3, ends('SIGTERM', 'not-now')],
    [4, ends('SIGINT', 'not-now')],
  ],
  {},
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    1 - stands SIGINT SIGTERM
    2 - stands SIGPWR SIGTERM
    3 run-hook SIGINT /hook 63000
    3 - dropped SIGTERM
    3 - shutdown SIGINT 60000 quit false
    4 press SIGPWR true
    4 - dropped SIGINT
    4 - shutdown SIGPWR 60000 quit false
  `,
);
decides(
  'a hook of another signal that ends is nothing that a signal waits for',
  [...begun(beside), [1, signal(hooked)], [2, signal(power)], [3, ends('SIGHUP', 'done')]],
  {},
  `
    0 run-hook SIGHUP /hook 20000
    1 run-hook SIGTERM /hook 61000
    1 - shutdown SIGTERM 60000 quit false
    2 - stands SIGPWR SIGTERM
  `,
);

// Signals that leave the guest running.

decides(
  'one run stands for those that come while it runs, and they are counted',
  [...begun(besideHook), [1, signal(besideHook, 2)], [2, exits('SIGUSR1')], [2, ends('SIGUSR1', 'done')]],
  { untilS: 30 },
  `
    0 run-hook SIGUSR1 /hook 20000
    2 - coalesced SIGUSR1 2
  `,
);
decides(
  'a signal that comes when its hook has exited has a run of its own',
  [...begun(besideHook), [2, exits('SIGUSR1')], [2.1, signal(besideHook)], [2.2, ends('SIGUSR1', 'not-now')]],
  {},
  `
    0 run-hook SIGUSR1 /hook 20000
    2.2 run-hook SIGUSR1 /hook 22200
    2.2 - dropped SIGUSR1
  `,
);
decides(
  'a hook that fails, with nothing after it; the next signal runs it again',
  [...begun(besideHook), [2, ends('SIGUSR1', 'failed')], [3, signal(besideHook)]],
  {},
  `
    0 run-hook SIGUSR1 /hook 20000
    2 - failed SIGUSR1
    3 run-hook SIGUSR1 /hook 23000
  `,
);
decides(
  'a hook that fails, and the command that fails after it; a signal in between is counted',
  [
    ...begun(beside),
    [2, exits('SIGHUP')],
    [2, ends('SIGHUP', 'failed')],
    [2.5, signal(beside, 2)],
    [3, answers('SIGHUP', false)],
    [4, signal(beside)],
  ],
  { untilS: 4 },
  `
    0 run-hook SIGHUP /hook 20000
    2 command SIGHUP savevm nightly
    2 - next-link SIGHUP command hook-failed
    3 - failed SIGHUP
    3 - coalesced SIGHUP 2
    4 run-hook SIGHUP /hook 24000
  `,
);
decides(
  'a hook that fails, and the command that succeeds after it',
  [...begun(beside), [2, ends('SIGHUP', 'failed')], [3, answers('SIGHUP', true)]],
  { untilS: 40 },
  `
    0 run-hook SIGHUP /hook 20000
    2 command SIGHUP savevm nightly
    2 - next-link SIGHUP command hook-failed
  `,
);
decides(
  'a hook that hangs, and the command that is not answered after it',
  begun(beside),
  { untilS: 40 },
  `
    0 run-hook SIGHUP /hook 20000
    20 stop-hook SIGHUP timeout
    20 command SIGHUP savevm nightly
    20 - next-link SIGHUP command hook-timeout
    25 - command-timeout SIGHUP
  `,
);
decides(
  'a hook that hangs, with nothing after it',
  begun(besideHook),
  { untilS: 40 },
  `
    0 run-hook SIGUSR1 /hook 20000
    20 stop-hook SIGUSR1 timeout
    20 - failed SIGUSR1
  `,
);
decides(
  'a press that leaves the guest running is one press; QEMU may refuse it',
  [
    [0, up('paused')],
    [0, signal(besidePress)],
    [1, answers('SIGUSR1', true, true)],
    [2, signal(besidePress)],
    [3, answers('SIGUSR1', false, true)],
  ],
  { untilS: 40 },
  `
    0 press SIGUSR1 false
    2 press SIGUSR1 false
    3 - failed SIGUSR1
  `,
);
decides(
  'a hook that fails beside a shutdown is followed by nothing',
  [...begun(beside), [1, signal(button)], [2, ends('SIGHUP', 'failed')]],
  { untilS: 2 },
  `
    0 run-hook SIGHUP /hook 20000
    1 press SIGTERM true
    1 - shutdown SIGTERM 60000 quit false
    2 - failed SIGHUP
  `,
);
decides(
  'a hook that hangs beside a shutdown is followed by nothing',
  [...begun(beside), [1, signal(button)]],
  { untilS: 20 },
  `
    0 run-hook SIGHUP /hook 20000
    1 press SIGTERM true
    1 - shutdown SIGTERM 60000 quit false
    11 press SIGTERM true
    20 stop-hook SIGHUP timeout
    20 - failed SIGHUP
  `,
);
decides(
  'a hook that hangs, or ends, while QEMU is told to quit',
  [...begun(beside), [0, signal(besideHook)], [18, signal(force)], [19, ends('SIGUSR1', 'failed')]],
  { untilS: 21 },
  `
    0 run-hook SIGHUP /hook 20000
    0 run-hook SIGUSR1 /hook 20000
    18 silence-hooks
    18 quit
    18 - default-action SIGQUIT quit asked
    20 stop-hook SIGHUP timeout
    20 - failed SIGHUP
  `,
);

// Signals that come together.

decides(
  'a signal that repeats is counted, and told of at the deadline',
  [...begun(hooked), [1, signal(hooked, 3)], [2, signal(hooked)]],
  { untilS: 60 },
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    45 stop-hook SIGTERM timeout
    45 press SIGTERM true
    45 - next-link SIGTERM power-button hook-timeout
    55 press SIGTERM true
    60 silence-hooks
    60 quit
    60 - coalesced SIGTERM 4
    60 - default-action SIGTERM quit deadline
  `,
);
decides(
  'a signal that repeats is counted, and told of when QEMU exits; one that comes then is not told of',
  [...begun(hooked), [1, signal(hooked, 3)], [2, poweredOff], [3, signal(hooked)]],
  { untilS: 7 },
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    2 silence-hooks
    2 stop-hook SIGTERM guest-off
    2 - coalesced SIGTERM 3
    7 kill
    7 - exit-hangs 5000
  `,
);
decides(
  'what was counted is told once when QEMU has gone',
  [
    ...begun(besideHook),
    [0.1, signal(besideHook)],
    [0.2, signal(hooked)],
    [0.5, signal(ignored, 4)],
    [0.6, signal(ignored)],
    [0.7, signal(hooked, 3)],
    [0.8, { kind: 'gone' }],
    [0.9, { kind: 'gone' }],
  ],
  {},
  `
    0 run-hook SIGUSR1 /hook 20000
    0.2 run-hook SIGTERM /hook 60200
    0.2 - shutdown SIGTERM 60000 quit false
    0.5 - ignored SIGUSR2 4
    0.8 - coalesced SIGTERM 3
    0.8 - coalesced SIGUSR1 1
    0.8 - ignored SIGUSR2 1
  `,
);
decides(
  'a signal that does nothing is told of once a second',
  [
    ...begun(ignored),
    [0.2, signal(ignored, 2)],
    [0.9, signal(ignored)],
    [1.5, signal(ignored)],
    [1.6, signal(ruleOf('SIGCONT', [], 0, 'none'))],
    [1.7, signal(ruleOf('SIGWINCH', [], 0, 'none'))],
  ],
  { untilS: 5 },
  `
    0 - ignored SIGUSR2 1
    1 - ignored SIGUSR2 3
    1.5 - ignored SIGUSR2 1
  `,
);
decides(
  'the first signal keeps its shutdown; each other one is told of once',
  [...begun(hooked), [1, signal(power)], [2, signal(power)], [3, signal(beside)], [4, signal(beside)]],
  { untilS: 4 },
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    1 - stands SIGPWR SIGTERM
    3 - refused SIGHUP SIGTERM
  `,
);
decides(
  'Ctrl-C: the second forces, if it comes a second after the first',
  [
    [0, up()],
    [0, typed(int)],
    [0.999, typed(int)],
    [1, typed(int)],
    [1.5, typed(int)],
  ],
  { untilS: 6 },
  `
    0 run-hook SIGINT /hook 60000
    0 - shutdown SIGINT 60000 quit false
    0 - again-to-force
    1 silence-hooks
    1 stop-hook SIGINT qemu-exits
    1 quit
    1 - coalesced SIGINT 1
    1 - default-action SIGINT quit cut
    6 kill
    6 - kill cut
  `,
);
decides(
  'Ctrl-C in a shutdown that another signal began: the second forces; SIGINT from elsewhere never does',
  [
    ...begun(hooked),
    [5, signal(int)],
    [10, typed(int)],
    [10.5, typed(int)],
    [11.2, signal(int)],
    [11.3, typed(hooked)],
    [11.4, typed(int)],
  ],
  { untilS: 11 },
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    5 - stands SIGINT SIGTERM
    10 - again-to-force
    11.4 silence-hooks
    11.4 stop-hook SIGTERM qemu-exits
    11.4 quit
    11.4 - coalesced SIGTERM 1
    11.4 - default-action SIGTERM quit cut
  `,
);
decides(
  'SIGQUIT forces a shutdown, whatever its own rule; without one its rule counts',
  [
    ...begun(ruleOf('SIGQUIT', ['hook'], 20, 'none')),
    [1, ends('SIGQUIT', 'done')],
    [2, signal(hooked)],
    [3, signal(ruleOf('SIGQUIT', ['hook'], 20, 'none'))],
    [4, signal(force)],
    [5, signal(hooked)],
    [6, signal(power)],
  ],
  {},
  `
    0 run-hook SIGQUIT /hook 20000
    2 run-hook SIGTERM /hook 62000
    2 - shutdown SIGTERM 60000 quit false
    3 silence-hooks
    3 stop-hook SIGTERM qemu-exits
    3 quit
    3 - default-action SIGTERM quit cut
    4 - stands SIGQUIT SIGTERM
    6 - stands SIGPWR SIGTERM
  `,
);
decides(
  'before the monitor answers: what leaves the guest running is refused by a shutdown, which waits',
  [
    [0, signal(beside)],
    [1, signal(hooked)],
    [2, up()],
  ],
  {},
  `
    1 - refused SIGHUP SIGTERM
    1 - shutdown SIGTERM 60000 quit true
    2 run-hook SIGTERM /hook 61000
  `,
);
decides(
  'before the monitor answers: SIGQUIT does not wait',
  [[0, signal(force)]],
  { untilS: 5 },
  `
    0 silence-hooks
    0 quit
    0 - default-action SIGQUIT quit asked
    5 kill
    5 - kill asked
  `,
);
decides(
  'a monitor that never answers: the deadline holds',
  [[0, signal(button)]],
  { untilS: 65 },
  `
    0 - shutdown SIGTERM 60000 quit true
    60 silence-hooks
    60 quit
    60 - default-action SIGTERM quit deadline
    65 kill
    65 - kill deadline
  `,
);

// QEMU's own exit.

decides(
  'a QEMU that exits by itself is killed when its time is over, and given up on 30 s later and not before',
  [
    [0, up()],
    [1, windowClosed],
    [6.5, signal(ignored)],
    [6.6, signal(ignored)],
  ],
  { untilS: 40 },
  `
    6 kill
    6 - exit-hangs 5000
    6.5 - ignored SIGUSR2 1
    7.5 - ignored SIGUSR2 1
    36 abandon
    36 - abandoned
  `,
);
decides(
  'a QEMU that exits in a shutdown has its hook stopped, and its button left alone',
  [...begun(hooked), [0.5, powerdown], [1, windowClosed]],
  { untilS: 6 },
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    1 silence-hooks
    1 stop-hook SIGTERM qemu-exits
    6 kill
    6 - exit-hangs 5000
  `,
);
decides(
  'a QEMU that stays after its guest is told to quit, and killed if it does not',
  [...begun(hooked), [1, poweredOff], [2, stopped]],
  { untilS: 7 },
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    1 silence-hooks
    1 stop-hook SIGTERM guest-off
    2 quit
    7 kill
    7 - kill powered-off
  `,
);
decides(
  'a guest that comes back has its button pressed again, and again',
  [...begun(button), [0.1, powerdown], [1, poweredOff], [2, reset(false)], [3, poweredOff], [4, resumed]],
  { untilS: 14 },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 60000 quit false
    1 silence-hooks
    2 press SIGTERM true
    2 - next-link SIGTERM power-button guest-reset
    3 silence-hooks
    4 press SIGTERM true
    4 - next-link SIGTERM power-button guest-reset
    14 press SIGTERM true
  `,
);
decides(
  'a press that was due when QEMU said that it exits is due no more if the guest comes back',
  [...begun(noButton), [1, powerdown], [2, poweredOff], [3, resumed]],
  { untilS: 14 },
  `
    0 run-hook SIGTERM /hook 20000
    0 - shutdown SIGTERM 20000 quit false
    2 silence-hooks
    2 stop-hook SIGTERM guest-off
  `,
);
decides(
  'a guest that comes back when QEMU is being killed has come too late',
  [...begun(hooked), [1, poweredOff], [7, reset(false)]],
  { untilS: 7 },
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    1 silence-hooks
    1 stop-hook SIGTERM guest-off
    6 kill
    6 - exit-hangs 5000
  `,
);

decides(
  'a guest that its hook has migrated: QEMU is told to quit when the hook has ended, however it did',
  [...begun(hooked), [1, is('postmigrate')], [5, exits('SIGTERM')], [5, ends('SIGTERM', 'done')]],
  { untilS: 5 },
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    5 silence-hooks
    5 quit
    5 - default-action SIGTERM quit migrated
  `,
);
decides(
  'a guest that its hook has migrated before it failed',
  [...begun(hooked), [1, is('postmigrate')], [5, exits('SIGTERM')], [5, ends('SIGTERM', 'failed')]],
  { untilS: 5 },
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    5 silence-hooks
    5 quit
    5 - default-action SIGTERM quit migrated
  `,
);
decides(
  'a guest that its hook has migrated, and let go on',
  [
    ...begun(hooked),
    [1, is('postmigrate')],
    [2, resumed],
    [2, is('running')],
    [3, powerdown],
    [3, exits('SIGTERM')],
    [3, ends('SIGTERM', 'done')],
    [4, poweredOff],
  ],
  { untilS: 4 },
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    4 silence-hooks
  `,
);
decides(
  'a guest that its hook has migrated, if the hook hangs: the last quarter ends both',
  [...begun(hooked), [1, is('postmigrate')]],
  { untilS: 45 },
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    45 stop-hook SIGTERM timeout
    45 silence-hooks
    45 quit
    45 - default-action SIGTERM quit migrated
  `,
);

const saves = ruleOf('SIGUSR2', ['hook'], 100, 'none');
const whileSaved: Script = [...begun(saves), [1, signal(button)], [1.1, powerdown]];
decides(
  'a guest that the hook of another signal saves: what that has not done by the last quarter is undone',
  [...whileSaved, [2, is('finish-migrate')], [46.1, is('running')]],
  { untilS: 46.1, limits: { pressGaps: [] } },
  `
    0 run-hook SIGUSR2 /hook 100000
    1 press SIGTERM true
    1 - shutdown SIGTERM 60000 quit false
    46 stop-hook SIGUSR2 timeout
    46 - failed SIGUSR2
  `,
);
decides(
  'a guest that the hook of another signal has migrated: QEMU is told to quit when that has ended',
  [...whileSaved, [2, is('postmigrate')], [3, exits('SIGUSR2')], [3, ends('SIGUSR2', 'done')]],
  { untilS: 3, limits: { pressGaps: [] } },
  `
    0 run-hook SIGUSR2 /hook 100000
    1 press SIGTERM true
    1 - shutdown SIGTERM 60000 quit false
    3 silence-hooks
    3 quit
    3 - default-action SIGTERM quit migrated
  `,
);
decides(
  'a guest that the hook of another signal has migrated, and that hangs: the last quarter ends both',
  [...whileSaved, [2, is('postmigrate')]],
  { untilS: 46, limits: { pressGaps: [] } },
  `
    0 run-hook SIGUSR2 /hook 100000
    1 press SIGTERM true
    1 - shutdown SIGTERM 60000 quit false
    46 stop-hook SIGUSR2 timeout
    46 silence-hooks
    46 quit
    46 - failed SIGUSR2
    46 - default-action SIGTERM quit migrated
  `,
);
decides(
  'a hook of another signal that has nothing to do with a migration keeps its time',
  whileSaved,
  { untilS: 59, limits: { pressGaps: [] } },
  `
    0 run-hook SIGUSR2 /hook 100000
    1 press SIGTERM true
    1 - shutdown SIGTERM 60000 quit false
  `,
);
test('a guest that came back while its hook was to end, with nothing after the hook, is what is waited for', () => {
  const { state } = play([...begun(noButton), [1, poweredOff], [2, reset()]]);
  assert.equal(state.shutdown?.at, 'guest');
});

test('a QEMU that is told to quit after its guest keeps that end, whatever a hook does to it in between', () => {
  for (const later of [reset(false), resumed]) {
    const { state } = play([...begun(hooked), [1, poweredOff], [2, stopped], [3, later]]);
    assert.equal(state.evidence.shutdown?.reason, 'guest-shutdown');
  }
});

// Time.

/** Without a tick in between: this process stood still. */
function standsStill(times: readonly number[]): string[] {
  return play(
    [...begun(ruleOf('SIGTERM', ['power-button'], 8)), ...times.map((at) => [at, { kind: 'tick' }] as const)],
    {
      isFrozen: true,
    },
  ).lines.slice(2);
}

test('two seconds without a tick are a busy host, more is lost time: at most the timeout in all, and what is left of the last quarter', () => {
  assert.deepEqual(standsStill([2]), []);
  assert.deepEqual(standsStill([2.001]), ['2.001 - lost-time SIGTERM 2001 2001']);
  assert.deepEqual(standsStill([5, 10, 15]), [
    '5 - lost-time SIGTERM 5000 5000',
    '10 press SIGTERM true',
    '10 - lost-time SIGTERM 3000 5000',
    '15 - lost-time SIGTERM 1000 5000',
  ]);
  assert.deepEqual(standsStill([7.999, 12.999, 17.999, 18.999, 19.998, 19.999]), [
    '7.999 - lost-time SIGTERM 7999 7999',
    '12.999 press SIGTERM true',
    '12.999 - lost-time SIGTERM 1 5000',
    '17.999 - lost-time SIGTERM 3999 5000',
    '19.999 silence-hooks',
    '19.999 quit',
    '19.999 - default-action SIGTERM quit deadline',
  ]);
  assert.deepEqual(standsStill([7.999, 12.999, 17.999, 22.999]).slice(-4), [
    '17.999 - lost-time SIGTERM 3999 5000',
    '22.999 silence-hooks',
    '22.999 quit',
    '22.999 - default-action SIGTERM quit deadline',
  ]);
});

test('a shutdown is looked at every second', () => {
  assert.equal(nextTick(play(begun(hooked)).state), 1_000);
});

test('a hook is wanted as long as its signal is at it, and QEMU is not on its way out', () => {
  const at = (...more: Script): boolean => isAtHook(play([...begun(hooked), ...more]).state, 'SIGTERM');
  assert.ok(at());
  assert.ok(!at([1, ends('SIGTERM', 'done')]));
  assert.ok(!at([1, poweredOff]));
  assert.ok(!isAtHook(play([[0, up()]]).state, 'SIGTERM'));
});

// The power button, as its registers show it.

decides(
  'a guest in firmware: pressed once for it, read until it listens, and pressed then; sooner than usual after that',
  [
    ...begun(button),
    [0.1, powerdown],
    [0.7, found('not-placed')],
    [0.73, found('placed')],
    [0.86, shows('deaf')],
    [0.98, shows('no answer')],
    [1.11, shows('clear')],
    [1.11, powerdown],
    [1.3, shows('clear')],
  ],
  { untilS: 30, tellsReads: true },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 60000 quit false
    0.6 look-up-button
    0.7 - button SIGTERM not-listening
    0.725 look-up-button
    0.85 read-button
    0.975 read-button
    1.1 read-button
    1.11 press SIGTERM true
    1.11 - listening SIGTERM
    1.225 read-button
    1.3 - button SIGTERM taken
    2.11 press SIGTERM true
    3.11 press SIGTERM true
    5.11 press SIGTERM true
    9.11 press SIGTERM true
    17.11 press SIGTERM true
    27.11 press SIGTERM true
  `,
);
decides(
  'without --press a guest that does not listen is not pressed in vain, but once in the last quarter',
  [...begun(button), [0, powerdown], [0.51, found('placed')], [0.63, shows('deaf')]],
  { untilS: 61 },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 60000 quit false
    0.63 - button SIGTERM not-listening
    45 press SIGTERM true
    60 silence-hooks
    60 quit
    60 - default-action SIGTERM quit deadline
  `,
);
decides(
  'with --press it is pressed as that says, whatever is known of it',
  [...begun(button), [0, powerdown], [0.51, found('placed')], [0.63, shows('deaf')], [0.9, shows('clear')]],
  { untilS: 31, limits: { keepsGaps: true } },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 60000 quit false
    0.63 - button SIGTERM not-listening
    10 press SIGTERM true
    20 press SIGTERM true
    30 press SIGTERM true
  `,
);
decides(
  'a press that is not taken is not repeated before the last quarter',
  [...begun(button), [0, powerdown], [0.51, found('placed')], [0.63, shows('pending')], [1.7, shows('pending')]],
  { untilS: 60 },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 60000 quit false
    45 press SIGTERM true
    60 silence-hooks
    60 quit
    60 - default-action SIGTERM quit deadline
  `,
);
decides(
  'a press that is taken is told once, and repeated when it is time',
  [
    ...begun(button),
    [0, powerdown],
    [0.51, found('placed')],
    [0.63, shows('pending')],
    [1.7, shows('clear')],
    [10, powerdown],
    [10.6, shows('clear')],
  ],
  { untilS: 21 },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 60000 quit false
    1.7 - button SIGTERM taken
    20 press SIGTERM true
  `,
);
decides(
  'a guest that is known to have taken its press is not pressed again for the last quarter',
  [...begun(kills), [0, powerdown], [0.51, found('placed')], [0.63, shows('pending')], [1.7, shows('clear')]],
  { untilS: 8 },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 8000 kill false
    1.7 - button SIGTERM taken
    8 silence-hooks
    8 kill
    8 - default-action SIGTERM kill deadline
  `,
);
decides(
  'a hook: the button is read from its press on',
  [...begun(hooked), [5, powerdown], [5.51, found('placed')], [5.65, shows('clear')], [5.7, exits('SIGTERM')]],
  { untilS: 5.8, tellsReads: true },
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    5.5 look-up-button
    5.625 read-button
  `,
);
decides(
  'a hook that fails after its press: the button is pressed, as the line says',
  [
    ...begun(hooked),
    [1, powerdown],
    [1.51, found('placed')],
    [1.65, shows('pending')],
    [2, exits('SIGTERM')],
    [2, ends('SIGTERM', 'failed')],
  ],
  { untilS: 3 },
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    2 press SIGTERM true
    2 - next-link SIGTERM power-button hook-failed
  `,
);
decides(
  'after a reset, and after a wake, the registers are looked up again',
  [
    ...begun(hooked),
    [0.1, powerdown],
    [0.61, found('placed')],
    [0.73, shows('pending')],
    [0.9, reset()],
    [0.95, shows('no answer')],
    [1, wakeup],
    [1.04, found(null)],
    [1.16, found('placed')],
    [1.3, shows('deaf')],
    [1.41, shows('clear')],
  ],
  { untilS: 1.45, tellsReads: true },
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false
    0.6 look-up-button
    0.725 read-button
    0.85 read-button
    1.025 look-up-button
    1.15 look-up-button
    1.275 read-button
    1.3 - button SIGTERM not-listening
    1.4 read-button
    1.41 press SIGTERM true
    1.41 - listening SIGTERM
  `,
);
decides(
  'a press that comes while they are looked up: where they are stays true',
  [...begun(button), [0, powerdown], [0.505, powerdown], [0.52, found('not-placed')]],
  { untilS: 0.55, tellsReads: true },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 60000 quit false
    0.5 look-up-button
    0.52 - button SIGTERM not-listening
  `,
);
decides(
  'a guest that resets is read anew, and pressed when it listens again',
  [
    ...begun(button),
    [0, powerdown],
    [0.51, found('placed')],
    [0.63, shows('clear')],
    [1, reset()],
    [1.1, found('not-placed')],
    [1.9, found('placed')],
    [2, shows('deaf')],
    [3, shows('clear')],
    [3, powerdown],
  ],
  { untilS: 5 },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 60000 quit false
    1.1 - button SIGTERM not-listening
    3 press SIGTERM true
    3 - listening SIGTERM
    4 press SIGTERM true
    5 press SIGTERM true
  `,
);
decides(
  'a guest that is woken has forgotten its press: it is looked up, read and pressed anew',
  [
    ...begun(button),
    [0, powerdown],
    [0.51, found('placed')],
    [0.63, shows('no answer')],
    [0.8, wakeup],
    [0.81, shows('no answer')],
    [0.9, found('placed')],
    [1.01, shows('clear')],
  ],
  { untilS: 1.05, tellsReads: true },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 60000 quit false
    0.5 look-up-button
    0.625 read-button
    0.75 read-button
    0.875 look-up-button
    1 read-button
    1.01 press SIGTERM true
    1.01 - listening SIGTERM
  `,
);
decides(
  'a machine without ACPI: told, read no more, and pressed again in the last quarter only',
  [...begun(button), [0, powerdown], [0.55, found('no-acpi')]],
  { untilS: 61, tellsReads: true },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 60000 quit false
    0.5 look-up-button
    0.55 - button SIGTERM no-acpi
    45 press SIGTERM true
    60 silence-hooks
    60 quit
    60 - default-action SIGTERM quit deadline
  `,
);
decides(
  'a machine that cannot be read: nothing is told, and it is pressed when it is time',
  [...begun(button), [0, powerdown], [0.55, found('unreadable')]],
  { untilS: 21, tellsReads: true },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 60000 quit false
    0.5 look-up-button
    10 press SIGTERM true
    20 press SIGTERM true
  `,
);
decides(
  'QEMU is told to quit while a reading is under way: its answer changes nothing',
  [
    ...begun(button),
    [0, powerdown],
    [0.51, found('placed')],
    [0.63, shows('deaf')],
    [1, signal(force)],
    [1.1, shows('clear')],
  ],
  { untilS: 2, tellsReads: true },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 60000 quit false
    0.5 look-up-button
    0.625 read-button
    0.63 - button SIGTERM not-listening
    0.75 read-button
    1 silence-hooks
    1 quit
    1 - default-action SIGTERM quit cut
  `,
);
decides(
  'the press of the last quarter goes out while a reading is under way: one press is enough',
  [...begun(kills), [0, powerdown], [0.51, found('placed')], [0.63, shows('deaf')], [6.05, shows('clear')]],
  { untilS: 6.2 },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 8000 kill false
    0.63 - button SIGTERM not-listening
    6 press SIGTERM true
  `,
);
decides(
  'a guest that has just started is pressed again after as long as it has been there, and as usual at last',
  [
    [0, up('running', 2_500)],
    [0.5, signal(button)],
    [0.5, powerdown],
    [1.01, found('placed')],
    [1.15, shows('pending')],
    [2.2, shows('clear')],
  ],
  { untilS: 35 },
  `
    0.5 press SIGTERM true
    0.5 - shutdown SIGTERM 60000 quit false
    2.2 - button SIGTERM taken
    3.5 press SIGTERM true
    9.5 press SIGTERM true
    19.5 press SIGTERM true
    29.5 press SIGTERM true
  `,
);
decides(
  'with --press it is pressed as that says',
  [
    [0, up('running', 2_500)],
    [0.5, signal(button)],
    [0.5, powerdown],
  ],
  { untilS: 15, limits: { keepsGaps: true } },
  `
    0.5 press SIGTERM true
    0.5 - shutdown SIGTERM 60000 quit false
    10.5 press SIGTERM true
  `,
);

// A guest that is never forced.

const patient = ruleOf('SIGTERM', ['hook', 'power-button'], Infinity);

decides(
  'infinity: a hook that hangs has a minute, and then the button is pressed, again and again, for as long as it takes',
  begun(patient),
  { untilS: 95 },
  `
    0 run-hook SIGTERM /hook Infinity
    0 - shutdown SIGTERM Infinity quit false
    60 stop-hook SIGTERM timeout
    60 press SIGTERM true
    60 - next-link SIGTERM power-button hook-timeout
    70 press SIGTERM true
    80 press SIGTERM true
    90 press SIGTERM true
  `,
);
decides(
  'infinity: a day later the guest is waited for still',
  begun(ruleOf('SIGTERM', ['power-button'], Infinity)),
  { untilS: 86_400, limits: { pressGaps: [40_000_000] } },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM Infinity quit false
    40000 press SIGTERM true
    80000 press SIGTERM true
  `,
);
decides(
  'infinity: a hook that has pressed is left at work, and the presses go on',
  [...begun(patient), [2, powerdown]],
  { untilS: 75 },
  `
    0 run-hook SIGTERM /hook Infinity
    0 - shutdown SIGTERM Infinity quit false
    12 press SIGTERM true
    22 press SIGTERM true
    32 press SIGTERM true
    42 press SIGTERM true
    52 press SIGTERM true
    62 press SIGTERM true
    72 press SIGTERM true
  `,
);
decides(
  'infinity: a hook that ends well, and presses nothing, has the button pressed after a minute, once only if so wished',
  [...begun(patient), [1, exits('SIGTERM')], [1, ends('SIGTERM', 'done')]],
  { untilS: 1_000, limits: once },
  `
    0 run-hook SIGTERM /hook Infinity
    0 - shutdown SIGTERM Infinity quit false
    60 press SIGTERM true
    60 - next-link SIGTERM power-button reserve
  `,
);
decides(
  'infinity: SIGQUIT forces all the same, and QEMU has its time to exit',
  [...begun(patient), [100, signal(force)]],
  { untilS: 200 },
  `
    0 run-hook SIGTERM /hook Infinity
    0 - shutdown SIGTERM Infinity quit false
    60 stop-hook SIGTERM timeout
    60 press SIGTERM true
    60 - next-link SIGTERM power-button hook-timeout
    70 press SIGTERM true
    80 press SIGTERM true
    90 press SIGTERM true
    100 silence-hooks
    100 quit
    100 - default-action SIGTERM quit cut
    105 kill
    105 - kill cut
    135 abandon
    135 - abandoned
  `,
);
decides(
  'infinity: a second Ctrl-C forces',
  [
    [0, up()],
    [0, typed(ruleOf('SIGINT', ['power-button'], Infinity))],
    [3_600, typed(ruleOf('SIGINT', ['power-button'], Infinity))],
  ],
  { untilS: 3_601, limits: once },
  `
    0 press SIGINT true
    0 - shutdown SIGINT Infinity quit false
    0 - again-to-force
    3600 silence-hooks
    3600 quit
    3600 - default-action SIGINT quit cut
  `,
);
decides(
  'infinity: a hook of a signal that leaves the guest running has a minute',
  [
    [0, up()],
    [0, signal(ruleOf('SIGHUP', ['hook'], Infinity, 'none'))],
  ],
  { untilS: 100 },
  `
    0 run-hook SIGHUP /hook 60000
    60 stop-hook SIGHUP timeout
    60 - failed SIGHUP
  `,
);
decides(
  'infinity: without a button the hook is all there is, and stays',
  begun(ruleOf('SIGTERM', ['hook'], Infinity)),
  { untilS: 1_000 },
  `
    0 run-hook SIGTERM /hook Infinity
    0 - shutdown SIGTERM Infinity quit false
  `,
);
decides(
  'infinity: what stood still has its minute all the same, and no deadline is told of',
  [...begun(patient), ...Array.from({ length: 62 }, (_, i) => [30 + i, tick] as const)],
  { isFrozen: true },
  `
    0 run-hook SIGTERM /hook Infinity
    0 - shutdown SIGTERM Infinity quit false
    90 stop-hook SIGTERM timeout
    90 press SIGTERM true
    90 - next-link SIGTERM power-button hook-timeout
  `,
);
decides(
  'infinity: a guest that resets after its press is pressed anew',
  [...begun(ruleOf('SIGTERM', ['power-button'], Infinity)), [0.1, powerdown], [5, reset()]],
  { untilS: 16 },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM Infinity quit false
    10 press SIGTERM true
  `,
);

// A guest that still writes to its disks at the deadline.

const patientWithDisks = { limits: { busyTimeoutMs: 100_000, pressGaps: [] } };
/** The disks are written from the 45th second on, and no more after the `last`; what is read, is read at once. */
const writesUntil = (last: number, until: number): Script =>
  Array.from({ length: until - 44 }, (_, i) => [45 + i + 0.001, wrote(10 + Math.min(45 + i, last), 3 * i)] as const);

decides(
  'busy: nothing is asked of the disks until 15 s before the deadline, and then once a second',
  [...begun(button), [0.1, powerdown], [0.75, found('unreadable')], [45.1, wrote(7)], [46.1, wrote(7)]],
  { ...patientWithDisks, untilS: 50, tellsReads: true },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 60000 quit false 100000
    0.6 look-up-button
    45 read-disks
    46 read-disks
    47 read-disks
  `,
);
decides(
  'busy: without --busy-timeout nothing is asked of the disks',
  [...begun(button), [0.1, powerdown], [0.75, found('unreadable')]],
  { limits: { pressGaps: [] }, untilS: 61, tellsReads: true },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 60000 quit false
    0.6 look-up-button
    60 silence-hooks
    60 quit
    60 - default-action SIGTERM quit deadline
  `,
);
decides(
  'busy: a guest that writes until it powers off is not forced',
  [...begun(button), ...writesUntil(70, 70), [71, poweredOff]],
  { ...patientWithDisks, untilS: 73 },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 60000 quit false 100000
    60 - more-time SIGTERM 3000000 999 100000
    71 silence-hooks
  `,
);
decides(
  'busy: one that stops writing has 15 s more',
  [...begun(button), ...writesUntil(70, 90)],
  { ...patientWithDisks, untilS: 90 },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 60000 quit false 100000
    60 - more-time SIGTERM 3000000 999 100000
    85.001 silence-hooks
    85.001 quit
    85.001 - default-action SIGTERM quit quiet-deadline
  `,
);
decides(
  'busy: one that writes for ever is forced when that time is over',
  [...begun(button), ...writesUntil(100, 100)],
  { ...patientWithDisks, untilS: 101 },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 60000 quit false 100000
    60 - more-time SIGTERM 3000000 999 100000
    100 silence-hooks
    100 quit
    100 - default-action SIGTERM quit busy-deadline
  `,
);
decides(
  'busy: one that stands still is forced at the deadline',
  [...begun(button), ...writesUntil(0, 60)],
  { ...patientWithDisks, untilS: 61 },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 60000 quit false 100000
    60 silence-hooks
    60 quit
    60 - default-action SIGTERM quit deadline
  `,
);
decides(
  'busy: one whose last write was 14 s before the deadline has one more second',
  [...begun(button), ...writesUntil(46, 62)],
  { ...patientWithDisks, untilS: 62 },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 60000 quit false 100000
    60 - more-time SIGTERM 3000000 13999 100000
    61.001 silence-hooks
    61.001 quit
    61.001 - default-action SIGTERM quit quiet-deadline
  `,
);
decides(
  'busy: a QEMU that does not say is not waited for',
  [...begun(button), ...writesUntil(47, 47), [48, wrote(null)]],
  { ...patientWithDisks, untilS: 63 },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 60000 quit false 100000
    60 - more-time SIGTERM 3000000 12999 100000
    62.001 silence-hooks
    62.001 quit
    62.001 - default-action SIGTERM quit quiet-deadline
  `,
);
decides(
  'busy: a disk that is unplugged takes its counts along, and that is no write',
  [...begun(button), [45.001, wrote(500)], [46.001, wrote(20)], [47.001, wrote(20)], [48.001, wrote(20)]],
  { ...patientWithDisks, untilS: 61 },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 60000 quit false 100000
    60 silence-hooks
    60 quit
    60 - default-action SIGTERM quit deadline
  `,
);
decides(
  'busy: the last quarter comes when it would, and the presses go on while the guest writes',
  [...begun(hooked), ...writesUntil(95, 95)],
  { limits: { busyTimeoutMs: 100_000 }, untilS: 96 },
  `
    0 run-hook SIGTERM /hook 60000
    0 - shutdown SIGTERM 60000 quit false 100000
    45 stop-hook SIGTERM timeout
    45 press SIGTERM true
    45 - next-link SIGTERM power-button hook-timeout
    55 press SIGTERM true
    60 - more-time SIGTERM 3000000 999 100000
    65 press SIGTERM true
    75 press SIGTERM true
    85 press SIGTERM true
    95 press SIGTERM true
  `,
);
decides(
  'busy: SIGQUIT forces all the same',
  [...begun(button), ...writesUntil(80, 80), [80.5, signal(force)]],
  { ...patientWithDisks, untilS: 81 },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 60000 quit false 100000
    60 - more-time SIGTERM 3000000 999 100000
    80.5 silence-hooks
    80.5 quit
    80.5 - default-action SIGTERM quit cut
  `,
);
decides(
  'a hook that hangs while this process stands still for longer than its timeout: the button has its whole last quarter',
  [...begun(ruleOf('SIGTERM', ['hook', 'power-button'], 4)), [1, tick], [10, tick], [10.9, tick], [11, tick]],
  { isFrozen: true },
  `
    0 run-hook SIGTERM /hook 4000
    0 - shutdown SIGTERM 4000 quit false
    10 stop-hook SIGTERM timeout
    10 press SIGTERM true
    10 - lost-time SIGTERM 7000 9000
    10 - next-link SIGTERM power-button hook-timeout
    11 silence-hooks
    11 quit
    11 - default-action SIGTERM quit deadline
  `,
);
decides(
  "busy: time in which nothing of this process ran is not the guest's, nor of its last quarter",
  [
    ...begun(ruleOf('SIGTERM', ['power-button'], 4)),
    [0.001, wrote(1)],
    [1, tick],
    [1.001, wrote(2)],
    [3, tick],
    [9, tick],
    [9.9, tick],
    [10, tick],
  ],
  { limits: { busyTimeoutMs: 6_000, pressGaps: [] }, isFrozen: true },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 4000 quit false 6000
    9 - lost-time SIGTERM 6000 6000
    10 silence-hooks
    10 quit
    10 - default-action SIGTERM quit deadline
  `,
);
/** Ticks as they come if nothing stands still. */
const everySecond = (from: number, to: number): Script =>
  Array.from({ length: to - from + 1 }, (_, i) => [from + i, tick]);
decides(
  'busy: a guest that writes has all its time besides what was lost',
  [
    ...begun(ruleOf('SIGTERM', ['power-button'], 4)),
    [0.001, wrote(1)],
    [1, tick],
    [4, tick],
    [4.25, wrote(2)],
    ...everySecond(5, 9),
  ],
  { limits: { busyTimeoutMs: 6_000, pressGaps: [] }, isFrozen: true },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 4000 quit false 6000
    4 - lost-time SIGTERM 3000 3000
    7 - more-time SIGTERM 0 2750 9000
    9 silence-hooks
    9 quit
    9 - default-action SIGTERM quit busy-deadline
  `,
);
decides(
  'busy: a write is as old as the time in which anything of this process ran',
  [
    ...begun(ruleOf('SIGTERM', ['power-button'], 10)),
    [0.5, wrote(1)],
    [1, wrote(2)],
    ...everySecond(2, 3),
    ...everySecond(12, 26),
  ],
  { limits: { busyTimeoutMs: 100_000, pressGaps: [] }, isFrozen: true },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 10000 quit false 100000
    12 - lost-time SIGTERM 9000 9000
    19 - more-time SIGTERM 0 9000 109000
    25 silence-hooks
    25 quit
    25 - default-action SIGTERM quit quiet-deadline
  `,
);
decides(
  'the last quarter that is given once more is what was left of it',
  [...begun(ruleOf('SIGTERM', ['power-button'], 8)), ...everySecond(1, 7), [30, tick], [30.999, tick], [31, tick]],
  { limits: { pressGaps: [] }, isFrozen: true },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 8000 quit false
    30 - lost-time SIGTERM 23000 23000
    31 silence-hooks
    31 quit
    31 - default-action SIGTERM quit deadline
  `,
);
test('busy: after lost time the disks are asked about 15 s before the deadline as it is now, or at once if that was begun', () => {
  const options = { ...patientWithDisks, isFrozen: true, tellsReads: true };
  const { state } = play([...begun(button), [1, tick], [31, tick]], options);
  assert.equal(state.shutdown?.disksReadAt, 75_000);
  const ticks: Script = Array.from({ length: 22 }, (_, i) => [2 * (i + 1), tick]);
  const { lines } = play([...begun(button), ...ticks, [45, tick], [45.001, wrote(1)], [75, tick]], options);
  assert.deepEqual(
    lines.filter((line) => line.endsWith('read-disks')),
    ['45 read-disks', '75 read-disks'],
  );
});
decides(
  'busy: it is for a timeout that is shorter',
  begun(button),
  { limits: { busyTimeoutMs: 60_000, pressGaps: [] }, untilS: 61, tellsReads: true },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 60000 quit false
    60 silence-hooks
    60 quit
    60 - default-action SIGTERM quit deadline
  `,
);
decides(
  'busy: a guest that is never forced needs none',
  begun(ruleOf('SIGTERM', ['power-button'], Infinity)),
  { limits: { busyTimeoutMs: 60_000, pressGaps: [] }, untilS: 100, tellsReads: true },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM Infinity quit false
  `,
);
decides(
  'busy: what the disks did is told after the shutdown was called off, and says nothing then',
  [
    ...begun(ruleOf('SIGTERM', ['hook', 'power-button'], 10)),
    [1, exits('SIGTERM')],
    [1, ends('SIGTERM', 'not-now')],
    [2, wrote(5)],
  ],
  { limits: { busyTimeoutMs: 60_000 }, untilS: 3 },
  `
    0 run-hook SIGTERM /hook 10000
    0 - shutdown SIGTERM 10000 quit false 60000
    1 - dropped SIGTERM
  `,
);
decides(
  'busy: its time is counted from the signal, whenever that comes',
  [
    [0, up()],
    [100, signal(ruleOf('SIGTERM', ['power-button'], 4))],
    [100.001, wrote(1)],
    [101.001, wrote(2)],
  ],
  { limits: { busyTimeoutMs: 6_000, pressGaps: [] }, untilS: 107 },
  `
    100 press SIGTERM true
    100 - shutdown SIGTERM 4000 quit false 6000
    104 - more-time SIGTERM 0 2999 6000
    106 silence-hooks
    106 quit
    106 - default-action SIGTERM quit busy-deadline
  `,
);
decides(
  'busy: with less than 15 s in all the disks are asked about from the signal on',
  begun(ruleOf('SIGTERM', ['power-button'], 4)),
  { limits: { busyTimeoutMs: 6_000, pressGaps: [] }, untilS: 1, tellsReads: true },
  `
    0 press SIGTERM true
    0 read-disks
    0 - shutdown SIGTERM 4000 quit false 6000
  `,
);
decides(
  'a guest that is half a second old is pressed again after a whole one',
  [
    [0, up('running', 500)],
    [0, signal(button)],
    [0.1, powerdown],
  ],
  { untilS: 4.2 },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 60000 quit false
    1 press SIGTERM true
    2.5 press SIGTERM true
  `,
);
decides(
  'so is one that was reset half a second before the signal',
  [
    [0, up()],
    [0.5, reset()],
    [1, signal(button)],
    [1.1, powerdown],
  ],
  { untilS: 5.2 },
  `
    1 press SIGTERM true
    1 - shutdown SIGTERM 60000 quit false
    2 press SIGTERM true
    3.5 press SIGTERM true
  `,
);
decides(
  'a press that is still to be taken is looked at once a second',
  [...begun(button), [0, powerdown], [0.51, found('placed')], [0.63, shows('pending')], [1.7, shows('pending')]],
  { untilS: 2.7, tellsReads: true },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 60000 quit false
    0.5 look-up-button
    0.625 read-button
    0.75 read-button
    1.75 read-button
  `,
);
decides(
  'nothing is read for half a second after any press, be it the first since a reset or a later one',
  [
    [0, up()],
    [0, signal(button)],
    [0.1, powerdown],
    [0.61, found('placed')],
    [0.73, shows('clear')],
    [10.1, powerdown],
    [10.61, shows('clear')],
    [12, reset()],
    [12.05, powerdown],
    [12.06, found('placed')],
  ],
  { untilS: 12.6, tellsReads: true },
  `
    0 press SIGTERM true
    0 - shutdown SIGTERM 60000 quit false
    0.6 look-up-button
    0.725 read-button
    10 press SIGTERM true
    10.6 read-button
    10.61 - button SIGTERM taken
    12 look-up-button
    12.55 read-button
  `,
);
