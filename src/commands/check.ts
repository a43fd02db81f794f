import { basename } from 'node:path';
import type { Config } from '../options/command.js';
import { columns } from '../system/text-table.js';
import { findFaults } from '../rules/hook-faults.js';
import { describeHook, type Description } from '../hook/describe.js';
import { knownEvents } from '../hook/event-names.js';
import { lifecycleHooks, findEventHooks, findLifecycleHook, findScript, type HookFile } from '../hook/find.js';
import { isDirectoryOfSteps, stepsIn } from '../hook/steps.js';
import { findStopTimeFault } from '../service-manager/stop-time.js';
import { askQemu } from '../qemu/ask-qemu.js';
import { cautionsOf } from './qemu-warnings.js';
import { requireQemu } from '../qemu/helpers.js';
import { shownCommand } from '../qmp/monitor-command.js';
import { findUnknownCommands, queryEvents } from '../qmp/known-commands.js';
import { allRules, describeNoTime, describeUnknownCommand, ruleFor, userCommands } from '../rules/resolve.js';
import { UsageError } from '../system/usage-error.js';
import { type Rule, type RuleBook, isIgnored, monitorCommandOf, scriptOf } from '../rules/rule.js';
import { longestStopMs } from '../rules/longest-stop.js';

/** What `--check` prints, and whether there is any fault. */
interface CheckReport {
  readonly text: string;
  readonly faulty: boolean;
}

/** What an administrator should fix or know; a fault costs a clean shutdown or a hook, a note does not. */
interface Finding {
  readonly severity: 'fault' | 'note';
  readonly event: 'hook-fault' | 'hook-meaning' | 'qemu-caution' | 'stop-time' | 'no-time' | 'unknown-command';
  readonly message: string;
  readonly fix: string;
  readonly facts: Readonly<Record<string, string>>;
}

/** A hook's path; of a directory, with the steps in braces, as a shell would expand them. */
function formatScript(script: HookFile): string {
  return isDirectoryOfSteps(script) ? `${script.path}/{${stepNames(script).join(',')}}` : script.path;
}

function stepNames(script: HookFile): string[] {
  return stepsIn(script).run.map(({ path }) => basename(path));
}

/** In seconds. */
function timeoutOf({ timeoutMs }: Rule): number | 'infinity' {
  return timeoutMs === Infinity ? 'infinity' : timeoutMs / 1000;
}

function hasBusyTime({ stages, timeoutMs, defaultAction }: Rule, busyMs: number | null): busyMs is number {
  return busyMs !== null && stages.length > 0 && defaultAction !== 'none' && timeoutMs < busyMs;
}

function row(rule: Rule, busyMs: number | null): readonly string[] {
  const script = scriptOf(rule);
  return [
    rule.signal,
    script === null ? '-' : formatScript(script),
    monitorCommandOf(rule) ?? '-',
    isIgnored(rule) ? '-' : `${timeoutOf(rule)}${hasBusyTime(rule, busyMs) ? `, busy ${busyMs / 1000}` : ''}`,
    rule.defaultAction,
    isIgnored(rule) ? 'ignored' : rule.source,
  ];
}

/** A hook that something would run, once whoever names it. */
interface Listed extends Description {
  readonly path: string;
  readonly from: 'bundled' | 'hooks directory' | 'option';
  readonly runs: readonly string[];
}

function listHooks(rules: readonly Rule[], book: RuleBook, events: readonly string[]): Listed[] {
  const hooks = new Map<string, { readonly file: HookFile; readonly runs: string[] }>();
  const add = (file: HookFile, runsOn: string): void => {
    const known = hooks.get(file.path);
    if (known) known.runs.push(runsOn);
    else hooks.set(file.path, { file, runs: [runsOn] });
  };
  for (const which of lifecycleHooks)
    for (const file of findLifecycleHook(which, book.dirs).slice(0, 1)) add(file, which);
  for (const { name, found } of findEventHooks(events, book.dirs))
    for (const file of found.slice(0, 1)) add(file, name);
  for (const rule of rules) {
    const script = scriptOf(rule);
    if (script !== null) add(script, rule.signal);
  }
  const { user } = book.dirs;
  return [...hooks.values()].map(({ file, runs }) => ({
    path: file.path,
    from: file.ours ? 'bundled' : user !== null && file.path.startsWith(`${user}/`) ? 'hooks directory' : 'option',
    runs,
    ...describeHook(file),
  }));
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

/** The names of QEMU's events; without a QEMU those that are known. */
async function eventsOf({ qemu: [qemu] }: Config): Promise<readonly string[]> {
  return (qemu === undefined ? null : await askQemu(qemu, queryEvents)) ?? knownEvents;
}

/** Names that are easily taken for each other. */
const meanings: Readonly<Record<string, string>> = {
  RESET: 'it runs when the guest has been reset, by whomever; what resets it is the hook reset',
  STOP: "it runs when the guest's processors have been stopped (paused, or after a panic); what runs after QEMU is the hook end, and SIGSTOP cannot be trapped",
  reset:
    'a rule runs it that names it (script=reset), in the place of the bundled hook; what runs after a reset is RESET',
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

/** No fault: it may be what is wanted. */
function noTimeFindings(rules: readonly Rule[]): Finding[] {
  const found = describeNoTime(rules);
  return found === null ? [] : [{ severity: 'note', event: 'no-time', ...found, facts: {} }];
}

/** Commands of rules that QEMU does not know; without a QEMU there is nobody to ask. */
async function commandFindings({ qemu: [qemu] }: Config, rules: readonly Rule[]): Promise<Finding[]> {
  const commands = userCommands(rules);
  if (qemu === undefined || commands.size === 0) return [];
  const unknown = (await askQemu(qemu, (client) => findUnknownCommands(client, [...commands.keys()]))) ?? [];
  return unknown.map((command) => {
    const signal = commands.get(command) as Rule['signal'];
    const { message, fix } = describeUnknownCommand(signal, shownCommand(command));
    return {
      severity: 'fault',
      event: 'unknown-command',
      message,
      fix,
      facts: { signal, command: shownCommand(command) },
    };
  });
}

/** What ends the VM first, then what does something, then the rest; each as in the order of the signals' numbers. */
function byWeight(rules: readonly Rule[]): Rule[] {
  const weight = (rule: Rule): number => (isIgnored(rule) ? 2 : rule.defaultAction === 'none' ? 1 : 0);
  return [...rules].sort((a, b) => weight(a) - weight(b));
}

/** The dispatch table as it would be, what each hook is, and every fault with its fix. */
export async function check(config: Config, book: RuleBook, env: NodeJS.ProcessEnv): Promise<CheckReport> {
  const rules = byWeight(allRules(book));
  const events = await eventsOf(config);
  const hooks = listHooks(rules, book, events);
  const findings: Finding[] = [
    ...qemuFindings(config, book, env),
    ...(await stopTimeFindings(config, book, env)),
    ...noTimeFindings(rules),
    ...(await commandFindings(config, rules)),
    ...meaningFindings(book, events),
    ...findFaults(rules, book, env, events).map(
      ({ path, message, fix }): Finding => ({
        severity: 'fault',
        event: 'hook-fault',
        message,
        fix,
        facts: { hook: path },
      }),
    ),
  ];
  const faulty = findings.some(({ severity }) => severity === 'fault');
  return { text: (config.log === 'json' ? asJson : asText)(rules, hooks, findings, config.busyTimeoutMs), faulty };
}

function asJson(
  rules: readonly Rule[],
  hooks: readonly Listed[],
  findings: readonly Finding[],
  busyMs: number | null,
): string {
  const lines: object[] = rules.map((rule) => {
    const script = scriptOf(rule);
    return {
      event: 'rule',
      signal: rule.signal,
      script: script?.path ?? null,
      ...(script !== null && isDirectoryOfSteps(script) ? { steps: stepNames(script) } : {}),
      monitorcommand: monitorCommandOf(rule),
      timeout: timeoutOf(rule),
      ...(hasBusyTime(rule, busyMs) && { busy_timeout: busyMs / 1000 }),
      default: rule.defaultAction,
      source: rule.source,
      ignored: isIgnored(rule),
    };
  });
  for (const { path, runs, from, kind, target, about } of hooks)
    lines.push({ event: 'hook', hook: path, runs, from, kind, target, about });
  for (const { event, facts, severity, message, fix } of findings)
    lines.push({ event, ...facts, severity, message, fix, mend: fix });
  return lines.map((line) => `${JSON.stringify({ ...line, v: 1 })}\n`).join('');
}

function asText(
  rules: readonly Rule[],
  hooks: readonly Listed[],
  findings: readonly Finding[],
  busyMs: number | null,
): string {
  const table = columns([
    ['SIGNAL', 'SCRIPT', 'MONITORCOMMAND', 'TIMEOUT', 'DEFAULT', 'FROM'],
    ...rules.map((rule) => row(rule, busyMs)),
  ]);
  const described = columns([
    ['HOOK', 'KIND', 'FROM', 'ABOUT'],
    ...hooks.map(({ path, from, kind, target, about }) => [
      target === null ? path : `${path} -> ${target}`,
      kind,
      from,
      about,
    ]),
  ]);
  const of = (severity: Finding['severity']): string[] =>
    findings.filter((each) => each.severity === severity).map(({ message }) => message);
  const faults = of('fault');
  const parts = [
    table,
    described,
    of('note')
      .map((message) => `note: ${message}`)
      .join('\n'),
    faults.length === 0 ? 'no faults' : faults.join('\n'),
  ];
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`;
}
