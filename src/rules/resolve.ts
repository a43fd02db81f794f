import { type HookDirs, type HookFile, findForSignal, findScript, hookNamesOf } from '../hook/find.js';
import { isDirectoryOfSteps, stepsIn } from '../hook/steps.js';
import { type SignalName, trappableSignals } from '../signals/names.js';
import { type DefaultAction, builtinRule } from './builtin.js';
import { type Rule, type RuleBook, type Stage, powerButtonCommand } from './rule.js';

/*
 * What leaves its guest running. A rule made of it that names no default action has `none`: a reset on SIGHUP must
 * not be followed by the power button.
 */
const guestRunsOn = {
  hooks: ['reset', 'reboot', 'pause', 'resume', 'freeze', 'thaw', 'dump'],
  commands: ['system_reset', 'stop', 'cont', 'system_wakeup', 'inject-nmi', 'nmi'],
};

function leavesGuestRunning(script: HookFile, dirs: HookDirs): boolean {
  const files = isDirectoryOfSteps(script) ? stepsIn(script).run : [script];
  return (
    files.length > 0 && files.every((file) => hookNamesOf(file, dirs).some((name) => guestRunsOn.hooks.includes(name)))
  );
}

/** @param line the command of the rule, if it has one: the power button follows it when the rule is to stop the VM */
function stagesOf(script: HookFile | null, line: string | null, defaultAction: DefaultAction): Stage[] {
  const stages: Stage[] = script === null ? [] : [{ kind: 'hook', script }];
  if (line === null) return stages;
  const isButton = line.trim() === powerButtonCommand;
  if (!isButton) stages.push({ kind: 'command', line });
  if (isButton || defaultAction !== 'none') stages.push({ kind: 'power-button' });
  return stages;
}

/** The rules of all signals, in the order of the table. */
export function allRules(book: RuleBook): Rule[] {
  return trappableSignals.map((signal) => ruleFor(signal, book));
}

/**
 * The rule that `signal` gets: an option's, else that of a file named for it in the hooks directory, else the
 * built-in one. What an option's rule does not name, it has from the next in rank.
 */
export function ruleFor(signal: SignalName, book: RuleBook): Rule {
  const builtin = builtinRule(signal);
  const spec = book.specs.get(signal);
  const own = findForSignal(signal, book.dirs)[0] ?? null;

  const script =
    spec?.script === null
      ? null
      : spec?.script !== undefined
        ? findScript(spec.script, book.dirs)
        : typeof spec?.monitorCommand === 'string'
          ? null
          : (own ?? (builtin.script === null ? null : findScript(builtin.script, book.dirs)));
  const runsOn =
    script === null
      ? guestRunsOn.commands.includes(spec?.monitorCommand?.trim() ?? '')
      : leavesGuestRunning(script, book.dirs);
  const defaultAction = spec?.defaultAction ?? (runsOn ? 'none' : builtin.defaultAction);
  const lastLink = runsOn && defaultAction === 'none' ? null : builtin.monitorCommand;
  const monitorCommand = spec?.monitorCommand !== undefined ? spec.monitorCommand : lastLink;
  const stages = stagesOf(script, monitorCommand, defaultAction);

  return {
    signal,
    source: spec ? 'option' : own ? 'hooks directory' : 'built-in',
    stages,
    // If nothing is asked of the guest, there is nothing to wait for.
    timeoutMs: stages.length === 0 ? 0 : (spec?.timeoutMs ?? book.timeoutMs),
    defaultAction,
  };
}

/** The monitor commands that users have written into rules, each with the first signal that has it. */
export function userCommands(rules: readonly Rule[]): Map<string, SignalName> {
  const commands = new Map<string, SignalName>();
  for (const { signal, stages } of rules)
    for (const stage of stages)
      if (stage.kind === 'command' && !commands.has(stage.line)) commands.set(stage.line, signal);
  return commands;
}

/**
 * What is wrong with a command that QEMU does not know.
 * @param meant the one that was probably meant
 */
export function describeUnknownCommand(
  signal: SignalName,
  command: string,
  meant: string | null,
): { readonly message: string; readonly fix: string } {
  const fix =
    meant === null
      ? 'write a QMP command (query-commands lists them) or a command of the human monitor (help lists them)'
      : `write ${meant}`;
  return { fix, message: `--signal ${signal}: QEMU has no monitor command '${command}': ${fix}` };
}

/** What is wrong if a shutdown has no time at all, and how to say what was meant; `null` if each has some. */
export function describeNoTime(rules: readonly Rule[]): { readonly message: string; readonly fix: string } | null {
  const signals = rules
    .filter(({ stages, timeoutMs, defaultAction }) => stages.length > 0 && timeoutMs === 0 && defaultAction !== 'none')
    .map(({ signal }) => signal);
  if (signals.length === 0) return null;
  const fix =
    'write --timeout infinity to wait until the guest has shut down; to cut it off at once, send SIGQUIT, or write a rule of default=quit alone (--signal SIGUSR1,default=quit)';
  return { fix, message: `a timeout of 0: the guest has no time to shut down on ${signals.join(', ')}; ${fix}` };
}
