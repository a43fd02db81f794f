import { knownEvents } from '../../hook/event-names.js';
import { findEventHook, isLifecycleHook } from '../../hook/find.js';
import type { Config } from '../../options/command.js';
import { type EndCause, isLate } from '../../outcome/end-cause.js';
import { status as exitStatuses } from '../../outcome/exit-status.js';
import { builtinRule } from '../../rules/builtin.js';
import { ruleFor } from '../../rules/resolve.js';
import { type Rule, type RuleBook, isIgnored, monitorCommandOf, scriptOf } from '../../rules/rule.js';
import { parseSignal } from '../../signals/names.js';
import { UsageError } from '../../system/usage-error.js';
import { unknownHook } from '../unknown-hook.js';
import { type Logged, type Rehearsed, rehearse } from './rehearsal.js';
import { tryEvent } from './try-event.js';
import { Watcher, hookWords } from './watcher.js';

/** The rule to be tried. */
function tried(asked: string, book: RuleBook): Rule {
  const parsed = parseSignal(asked);
  if ('error' in parsed) throw unknownHook('--try', asked);
  const rule = ruleFor(parsed.signal, book);
  if (isIgnored(rule))
    throw new UsageError(
      `--try ${asked}: there is no rule or hook for ${parsed.signal}: write a hook with --new-hook ${parsed.signal}, or name its directory with --hooks`,
    );
  return rule;
}

/** A hook was written for it. */
function isOfNewerQemu(asked: string, { dirs }: RuleBook): boolean {
  return !/^SIG/.test(asked) && 'error' in parseSignal(asked) && findEventHook(asked, dirs).length > 0;
}

/** What is tried, for people. */
function describeRule(rule: Rule): string {
  const script = scriptOf(rule);
  if (script === null) return monitorCommandOf(rule) ?? 'no hook';
  return script.ours ? `the bundled hook ${script.path}` : script.path;
}

/** How the guest ended, or did not. */
function guestWords({ ranOn, wentByItself }: Rehearsed): string {
  if (wentByItself) return 'The guest shut itself down.';
  return ranOn ? 'The guest kept running.' : 'The guest was cut off.';
}

/**
 * Rehearses what a signal, or an event of QEMU's, does.
 * @param print takes the words for people
 * @returns 0 if the hook did its part and the guest was not cut off, else 125
 * @throws {UsageError} if there is nothing to be tried
 */
export async function tryOut(
  asked: string,
  config: Config,
  book: RuleBook,
  print: (text: string) => void,
): Promise<number> {
  if (isLifecycleHook(asked) || knownEvents.includes(asked) || isOfNewerQemu(asked, book))
    return tryEvent(asked, config, book, print);
  const rule = tried(asked, book);
  const { signal } = rule;
  /** How the hook ended: the last of its steps. */
  let hookEnd: string | null = null;
  /** qemu-trap had to do the hook's part, or the chain has done nothing in its time. */
  let isMissed = false;
  let hasNotPressed = false;
  const onLog = ({ event, ...facts }: Logged): void => {
    if (facts['signal'] !== signal) return;
    if (event === 'not-pressed') hasNotPressed = true;
    if (event === 'hook-end') hookEnd = String(facts['outcome'] ?? '') || null;
    const cause = (facts['cause'] ?? null) as EndCause | null;
    if (['next-link', 'failed', 'command-timeout'].includes(event) || (event === 'default-action' && isLate(cause)))
      isMissed = true;
  };
  const rehearsed = await rehearse(
    {
      name: signal,
      about: describeRule(rule),
      more: [],
      beginsWithinMs: null,
      ender: signal === 'SIGQUIT' ? 'SIGINT' : 'SIGQUIT',
      runsHookOf: () => false,
      monitorOf: (monitors) => monitors.hooks.get(signal) ?? monitors.lateHooks,
      withMonitorAt: (monitors, path) => ({ ...monitors, hooks: new Map([...monitors.hooks, [signal, path]]) }),
      begin: ({ tell }) => {
        tell(`kill -${signal.slice('SIG'.length)} ${process.pid}`);
        process.kill(process.pid, signal);
      },
      onLog,
      observer: ({ over }) => new Watcher(signal, over),
    },
    config,
    book,
    print,
  );
  const { isBegun, ranOn, wentByItself, said } = rehearsed;
  // It means: now, and never mind the guest.
  const isToCutOff = builtinRule(signal).monitorCommand === null && rule.defaultAction !== 'none';
  const didItsPart = !isMissed && (scriptOf(rule) === null || ['done', 'ended', 'not-now'].includes(hookEnd ?? ''));
  print(
    `\n${isBegun ? `${hookWords(rule, didItsPart, hookEnd)}${guestWords(rehearsed)}${isMissed && hasNotPressed ? ' The hook exited without a press of the power button.' : ''} File descriptor 3 carried ${said.hook} lines to QEMU and ${said.QEMU} from it.` : 'QEMU exited before the signal was sent, so nothing was tried.'}\n`,
  );
  return isBegun && didItsPart && (wentByItself || ranOn || isToCutOff) ? 0 : exitStatuses.failed;
}
