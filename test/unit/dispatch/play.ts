import assert from 'node:assert/strict';
import type { Effect, Input, Notice } from '../../../src/dispatch/messages.js';
import { type Limits, type State, initialState, nextTick } from '../../../src/dispatch/state.js';
import { step } from '../../../src/dispatch/step.js';
import type { ButtonPlace, ButtonReading } from '../../../src/outcome/button-evidence.js';
import type { QemuEvent } from '../../../src/outcome/evidence.js';
import type { HookOutcome } from '../../../src/outcome/hook-outcome.js';
import type { DefaultAction } from '../../../src/rules/builtin.js';
import type { Rule, Stage } from '../../../src/rules/rule.js';
import type { SignalName } from '../../../src/signals/names.js';

/*
 * The core, played: inputs at their seconds, and what is decided on them, in lines that can be read.
 */

const stages: Readonly<Record<Stage['kind'], Stage>> = {
  hook: { kind: 'hook', script: { path: '/hook', ours: false } },
  command: { kind: 'command', line: 'savevm nightly' },
  'power-button': { kind: 'power-button' },
};

export function ruleOf(
  signal: SignalName,
  kinds: readonly Stage['kind'][],
  seconds: number,
  defaultAction: DefaultAction = 'quit',
): Rule {
  return {
    signal,
    source: 'option',
    stages: kinds.map((kind) => stages[kind]),
    timeoutMs: seconds * 1_000,
    defaultAction,
  };
}

/** @param ageMs of a guest that has been there for long, if not given */
export const up = (runState = 'running', ageMs = Infinity): Input => ({ kind: 'monitor-up', runState, ageMs });
export const is = (runState: string): Input => ({ kind: 'run-state', runState });
export const signal = (rule: Rule, times = 1): Input => ({ kind: 'signal', rule, times, atTerminal: false });
export const typed = (rule: Rule): Input => ({ kind: 'signal', rule, times: 1, atTerminal: true });
export const powerdown: Input = { kind: 'powerdown' };
export const wakeup: Input = { kind: 'wakeup' };

const registers = { listens: true, isPending: false, isAwakened: false };
export const readings: Readonly<Record<string, ButtonReading | null>> = {
  deaf: { ...registers, listens: false },
  clear: registers,
  pending: { ...registers, isPending: true },
  awakened: { ...registers, isPending: true, isAwakened: true },
  'no answer': null,
};
/** They were looked up. */
export const found = (place: ButtonPlace | null): Input => ({ kind: 'button-place', place });
/** What QEMU's disks have done. */
export const wrote = (operations: number | null, megabytes = 0): Input => ({
  kind: 'disks',
  writes: operations === null ? null : { operations, bytes: megabytes * 1_000_000 },
});
/** They were read. */
export function shows(reading: string): Input {
  const found = readings[reading];
  assert.notEqual(found, undefined, reading);
  return { kind: 'button', reading: found as ButtonReading | null };
}
export const exits = (name: SignalName): Input => ({ kind: 'hook-exit', signal: name });
export const ends = (name: SignalName, kind: HookOutcome['kind']): Input => ({
  kind: 'hook-end',
  signal: name,
  outcome: kind === 'failed' ? { kind, why: 'so' } : { kind },
});
export const answers = (name: SignalName, ok: boolean, isPress = false): Input => ({
  kind: 'command-end',
  signal: name,
  ok,
  isPress,
});
export const event = (told: QemuEvent): Input => ({ kind: 'qemu', event: told });
export const reset = (byGuest = true): Input => event({ event: 'RESET', byGuest });
export const poweredOff = event({ event: 'SHUTDOWN', reason: 'guest-shutdown', byGuest: true });
export const stopped = event({ event: 'STOP' });
export const resumed = event({ event: 'RESUME' });
export const windowClosed = event({ event: 'SHUTDOWN', reason: 'host-ui', byGuest: false });

/** A stage by its kind, a hook by its path. */
function shown(value: unknown): string {
  const { kind, path } = Object(value) as { readonly kind?: unknown; readonly path?: unknown };
  return String(kind ?? path ?? value);
}

const line = (what: Effect | Notice): string => Object.values(what).map(shown).join(' ');

/** A guest that runs, and the signal of `rule`. */
export const begun = (rule: Rule): Script => [
  [0, up()],
  [0, signal(rule)],
];

export type Script = readonly (readonly [seconds: number, input: Input])[];

/**
 * What is decided on the inputs of `script`, and until `untilS` on the ticks that the core wants in between: effects as
 * `SECONDS WORDS`, notices as `SECONDS - WORDS`.
 */
export function play(
  script: Script,
  {
    untilS = 0,
    limits = {},
    isFrozen = false,
    tellsReads = false,
  }: {
    readonly untilS?: number;
    readonly limits?: Partial<Limits>;
    /** No tick comes that is not in the script. */
    readonly isFrozen?: boolean;
    /** When the registers of the button are read is told, too. */
    readonly tellsReads?: boolean;
  } = {},
): { readonly lines: string[]; readonly state: State } {
  let state = initialState({
    killAfterMs: 5_000,
    pressGaps: [10_000],
    keepsGaps: false,
    busyTimeoutMs: null,
    ...limits,
  });
  const lines: string[] = [];
  const take = (input: Input, now: number): void => {
    if (input.kind === 'button' || input.kind === 'button-place')
      assert.notEqual(state.button.asked, 'nothing', `${now / 1_000}: nothing was asked of the button`);
    const stepped = step(state, input, now);
    state = stepped.state;
    for (const effect of stepped.effects)
      if (tellsReads || !['read-button', 'look-up-button', 'read-disks'].includes(effect.do))
        lines.push(`${now / 1_000} ${line(effect)}`);
    for (const notice of stepped.notices) lines.push(`${now / 1_000} - ${line(notice)}`);
  };
  const passTo = (ms: number): void => {
    for (let next = nextTick(state); !isFrozen && next <= ms; next = nextTick(state)) {
      take({ kind: 'tick' }, next);
      assert.ok(nextTick(state) > next, 'a tick moves the next one on');
    }
  };
  for (const [seconds, input] of script) {
    passTo(seconds * 1_000 - 1);
    take(input, seconds * 1_000);
  }
  passTo(untilS * 1_000);
  return { lines, state };
}
