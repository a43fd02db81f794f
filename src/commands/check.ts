import { basename } from 'node:path';
import type { Config } from '../options/command.js';
import { plainLine } from '../log/plain-text.js';
import { columns } from '../system/text-table.js';
import { describeHook, type Description } from '../hook/describe.js';
import { knownEvents } from '../hook/event-names.js';
import { type HookDirs, lifecycleHooks, findEventHooks, findLifecycleHook, type HookFile } from '../hook/find.js';
import { isDirectoryOfSteps, stepsIn } from '../hook/steps.js';
import { askQemu } from '../qemu/ask-qemu.js';
import { queryEvents } from '../qmp/known-commands.js';
import { allRules } from '../rules/resolve.js';
import { type Rule, type RuleBook, isIgnored, monitorCommandOf, scriptOf } from '../rules/rule.js';
import { defaultHooksDir } from '../vm/run-vm.js';
import { type Finding, findAll } from './check-findings.js';

/** What `--check` prints, and whether there is any fault. */
interface CheckReport {
  readonly text: string;
  readonly faulty: boolean;
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

/** A hook that something would run, once however many name it. */
interface Listed extends Description {
  readonly path: string;
  readonly from: 'bundled' | 'hooks directory' | 'option';
  readonly runs: readonly string[];
}

/** A hook, and what it runs on. */
interface Bound {
  readonly file: HookFile;
  readonly runs: string[];
}

function findHooks(rules: readonly Rule[], book: RuleBook, events: readonly string[]): Bound[] {
  const hooks = new Map<string, Bound>();
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
  return [...hooks.values()];
}

function describe({ file, runs }: Bound, { user }: HookDirs): Listed {
  return {
    path: file.path,
    from: file.ours ? 'bundled' : user !== null && file.path.startsWith(`${user}/`) ? 'hooks directory' : 'option',
    runs,
    ...describeHook(file),
  };
}

/** Where the user's hooks are looked for: one in a wrong place is in no list. */
function describeDirectory({ dirs: { user } }: RuleBook, hooks: readonly Listed[]): string {
  if (user === null) return `hooks directory: none (${defaultHooksDir} does not exist)`;
  const count = hooks.filter(({ from }) => from === 'hooks directory').length;
  return `hooks directory: ${user} (${count} ${count === 1 ? 'hook' : 'hooks'} of yours)`;
}

/** What ends the VM first, then what does something, then the rest; each as in the order of the signals' numbers. */
function byWeight(rules: readonly Rule[]): Rule[] {
  const weight = (rule: Rule): number => (isIgnored(rule) ? 2 : rule.defaultAction === 'none' ? 1 : 0);
  return [...rules].sort((a, b) => weight(a) - weight(b));
}

/** The dispatch table as it would be, what each hook is, and every fault with its fix. */
export async function check(config: Config, book: RuleBook, env: NodeJS.ProcessEnv): Promise<CheckReport> {
  const rules = byWeight(allRules(book));
  const [qemu] = config.qemu;
  const asked = qemu === undefined ? null : await askQemu(qemu, queryEvents);
  const names = asked ?? knownEvents;
  const found = findHooks(rules, book, names);
  const findings = await findAll(config, book, env, rules, { names, asked, hooks: found.map(({ file }) => file) });
  const hooks = found.map((each) => describe(each, book.dirs));
  const faulty = findings.some(({ severity }) => severity === 'fault');
  const { busyTimeoutMs } = config;
  const text =
    config.log === 'json'
      ? asJson(rules, hooks, findings, busyTimeoutMs)
      : asText(rules, hooks, findings, busyTimeoutMs, describeDirectory(book, hooks));
  return { text, faulty };
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
  directory: string,
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
    findings.filter((each) => each.severity === severity).map(({ message }) => plainLine(message, ' '));
  const faults = of('fault');
  const parts = [
    table,
    described,
    directory,
    of('note')
      .map((message) => `note: ${message}`)
      .join('\n'),
    faults.length === 0 ? 'no faults' : faults.join('\n'),
  ];
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`;
}
