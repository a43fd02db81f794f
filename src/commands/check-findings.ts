import { basename } from 'node:path';
import type { Config } from '../options/command.js';
import { findFaults } from '../rules/hook-faults.js';
import { hookPath } from '../hook/environment.js';
import { findEventHooks, findScript, libDir, type HookFile } from '../hook/find.js';
import { findStopTimeFault } from '../service-manager/stop-time.js';
import { askQemu } from '../qemu/ask-qemu.js';
import { requireQemu } from '../qemu/helpers.js';
import { shownCommand } from '../qmp/monitor-command.js';
import { findUnknownCommands } from '../qmp/known-commands.js';
import { describeNoTime, describeUnknownCommand, ruleFor, userCommands } from '../rules/resolve.js';
import { UsageError } from '../system/usage-error.js';
import { type Rule, type RuleBook, scriptOf } from '../rules/rule.js';
import { longestStopMs } from '../rules/longest-stop.js';
import { findEventNeeds } from './event-needs.js';
import { cautionsOf } from './qemu-warnings.js';
import { findSyntaxHints } from './script-syntax.js';

/** What an administrator should fix or know; a fault costs a clean shutdown or a hook, a note does not. */
export interface Finding {
  readonly severity: 'fault' | 'note';
  readonly event: 'hook-fault' | 'hook-meaning' | 'qemu-caution' | 'stop-time' | 'no-time' | 'unknown-command';
  readonly message: string;
  readonly fix: string;
  readonly facts: Readonly<Record<string, string>>;
}

function qemuFindings({ qemu, onDeath }: Config, book: RuleBook, env: NodeJS.ProcessEnv): Finding[] {
  if (qemu.length === 0) return [];
  const script = scriptOf(ruleFor('SIGTERM', book));
  const needsButton = script === null || (script.ours && basename(script.path) === 'powerdown');
  const findings: Finding[] = cautionsOf(qemu, onDeath, needsButton).map(({ words, what, fix, isFault }) => ({
    severity: isFault ? 'fault' : 'note',
    event: 'qemu-caution',
    message: `QEMU's ${words}: ${what}; fix: ${fix}`,
    fix,
    facts: { words },
  }));
  try {
    requireQemu(qemu[0] ?? '', env);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    findings.unshift({
      severity: 'fault',
      event: 'qemu-caution',
      message: error.message,
      fix: error.message.replace(/^.*: /, ''),
      facts: { words: qemu[0] ?? '' },
    });
  }
  return findings;
}

/** Whether the service manager waits as long as qemu-trap may need. */
async function stopTimeFindings(config: Config, book: RuleBook, env: NodeJS.ProcessEnv): Promise<Finding[]> {
  const fault = await findStopTimeFault(longestStopMs(config, book), env);
  return fault === null
    ? []
    : [
        {
          severity: 'fault',
          event: 'stop-time',
          message: fault.message,
          fix: fault.fix,
          facts: { unit: fault.unit },
        },
      ];
}

/** Names that are easily taken for each other. */
const meanings: Readonly<Record<string, string>> = {
  RESET: 'it runs after any reset of the guest; the hook reset makes one',
  STOP: "it runs when the guest's processors have been stopped (paused, or after a panic); what runs after QEMU is the hook end, and SIGSTOP cannot be trapped",
  reset:
    'only a rule that names it runs it (script=reset), instead of the bundled hook; what runs after a reset is RESET',
};

function meaningFindings({ dirs }: RuleBook, events: readonly string[]): Finding[] {
  const { user } = dirs;
  if (user === null) return [];
  const here = [...findEventHooks(events, dirs).map(({ found }) => found[0]), findScript('reset', dirs)];
  return here.flatMap((file) => {
    const meaning = file === undefined || file.ours ? undefined : meanings[basename(file.path, '.d')];
    if (file === undefined || meaning === undefined) return [];
    return [
      {
        severity: 'note',
        event: 'hook-meaning',
        message: `hook ${file.path}: ${meaning}`,
        fix: 'nothing, if that is what you mean',
        facts: { hook: file.path },
      },
    ];
  });
}

/** No fault: the configuration may be read from a file. */
function needFindings({ qemu }: Config, { dirs }: RuleBook, events: readonly string[]): Finding[] {
  if (qemu.length === 0) return [];
  return findEventHooks(events, dirs).flatMap(({ name, found: [file] }) =>
    findEventNeeds(name, qemu).map(
      ({ what, fix }): Finding => ({
        severity: 'note',
        event: 'qemu-caution',
        message: `hook ${file?.path}: ${what}; fix: ${fix}`,
        fix,
        facts: { words: name },
      }),
    ),
  );
}

/** No fault: it may be what is wanted. */
function noTimeFindings(rules: readonly Rule[]): Finding[] {
  const found = describeNoTime(rules);
  return found === null ? [] : [{ severity: 'note', event: 'no-time', ...found, facts: {} }];
}

/** Commands of rules that QEMU does not know; without a QEMU there is none to ask. */
async function commandFindings({ qemu: [qemu] }: Config, rules: readonly Rule[]): Promise<Finding[]> {
  const commands = userCommands(rules);
  if (qemu === undefined || commands.size === 0) return [];
  const unknown = (await askQemu(qemu, (client) => findUnknownCommands(client, [...commands.keys()]))) ?? [];
  return unknown.map(({ line: command, meant }) => {
    const signal = commands.get(command) as Rule['signal'];
    const { message, fix } = describeUnknownCommand(signal, shownCommand(command), meant);
    return {
      severity: 'fault',
      event: 'unknown-command',
      message,
      fix,
      facts: { signal, command: shownCommand(command) },
    };
  });
}

function hookFindings(
  rules: readonly Rule[],
  book: RuleBook,
  env: NodeJS.ProcessEnv,
  asked: readonly string[] | null,
): Finding[] {
  return findFaults(rules, book, env, asked).map(({ path, isFault, message, fix }) => ({
    severity: isFault ? 'fault' : 'note',
    event: 'hook-fault',
    message,
    fix,
    facts: { hook: path },
  }));
}

function syntaxFindings(hooks: readonly HookFile[], { dirs }: RuleBook, env: NodeJS.ProcessEnv): Finding[] {
  return findSyntaxHints(hooks, hookPath(libDir(dirs), env), env).map(({ path, what }) => ({
    severity: 'note',
    event: 'hook-fault',
    message: `hook ${path}: ${what}; rehearse it with --try`,
    fix: 'rehearse it with --try',
    facts: { hook: path },
  }));
}

/** What is looked at besides the rules. */
interface Looked {
  /** The names of QEMU's events, those of the user's own QEMU if it could be `asked`. */
  readonly names: readonly string[];
  readonly asked: readonly string[] | null;
  /** All that something would run. */
  readonly hooks: readonly HookFile[];
}

/**
 * All that an administrator should fix or know.
 * @param rules of every signal
 */
export async function findAll(
  config: Config,
  book: RuleBook,
  env: NodeJS.ProcessEnv,
  rules: readonly Rule[],
  { names, asked, hooks }: Looked,
): Promise<Finding[]> {
  return [
    ...qemuFindings(config, book, env),
    ...(await stopTimeFindings(config, book, env)),
    ...noTimeFindings(rules),
    ...(await commandFindings(config, rules)),
    ...meaningFindings(book, names),
    ...needFindings(config, book, names),
    ...hookFindings(rules, book, env, asked),
    ...syntaxFindings(hooks, book, env),
  ];
}
