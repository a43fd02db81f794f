import { basename } from 'node:path';
import { columns } from './columns.js';
import { findFaults } from './faults.js';
import type { HookFile } from './hook/find.js';
import { isDirectoryOfSteps, stepsIn } from './hook/steps.js';
import { allRules, isIgnored, type Rule, type RuleBook } from './rules.js';

/** What `--check` prints, and whether there is any fault. */
export interface CheckReport {
  readonly text: string;
  readonly faulty: boolean;
}

/** A hook's path; of a directory, with the steps in braces, as a shell would expand them. */
function wordScript(script: HookFile): string {
  return isDirectoryOfSteps(script) ? `${script.path}/{${stepNames(script).join(',')}}` : script.path;
}

function stepNames(script: HookFile): string[] {
  return stepsIn(script).run.map(({ path }) => basename(path));
}

function row(rule: Rule): readonly string[] {
  return [
    rule.signal,
    rule.script === null ? '-' : wordScript(rule.script),
    rule.monitorCommand ?? '-',
    isIgnored(rule) ? '-' : String(rule.timeoutMs / 1000),
    rule.defaultAction,
    isIgnored(rule) ? 'ignored' : rule.source,
  ];
}

/** The dispatch table as it would be, and every fault in every hook with its mend. */
export function check(book: RuleBook, format: 'text' | 'json', env: NodeJS.ProcessEnv): CheckReport {
  const rules = allRules(book);
  const faults = findFaults(rules, book, env);
  if (format === 'json') {
    const lines: object[] = rules.map((rule) => ({
      event: 'rule', signal: rule.signal, script: rule.script?.path ?? null,
      ...(rule.script !== null && isDirectoryOfSteps(rule.script) ? { steps: stepNames(rule.script) } : {}), monitorcommand: rule.monitorCommand,
      timeout: rule.timeoutMs / 1000, default: rule.defaultAction, source: rule.source, ignored: isIgnored(rule),
    }));
    for (const { path, message, mend } of faults) lines.push({ event: 'hook-fault', hook: path, message, mend });
    return { text: lines.map((line) => `${JSON.stringify(line)}\n`).join(''), faulty: faults.length > 0 };
  }
  const table = columns([['SIGNAL', 'SCRIPT', 'MONITORCOMMAND', 'TIMEOUT', 'DEFAULT', 'FROM'], ...rules.map(row)]);
  const words = faults.length === 0 ? 'no faults' : faults.map(({ message }) => message).join('\n');
  return { text: `${table}\n\n${words}\n`, faulty: faults.length > 0 };
}
