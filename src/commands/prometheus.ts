import type { RunRecord } from '../status/run-record.js';
import { lastEnd } from '../status/stop-summary.js';

/*
 * The metrics of VMs, in the text format of Prometheus (version 0.0.4).
 */

/** What is known of a VM. */
export interface MeasuredVm {
  readonly name: string;
  readonly isUp: boolean;
  readonly records: readonly RunRecord[];
}

type Sample = readonly [labels: Readonly<Record<string, string>>, value: number];

/** A label's value may be any text, with these escaped. */
function escapeValue(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}

function family(name: string, type: 'gauge' | 'counter', help: string, samples: readonly Sample[]): string {
  const lines = samples.map(([labels, value]) => {
    const words = Object.entries(labels).map(([label, text]) => `${label}="${escapeValue(text)}"`);
    return `${name}{${words.join()}} ${value}\n`;
  });
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join('')}`;
}

function endsOf({ name, records }: MeasuredVm): Sample[] {
  const counts = new Map<string, number>();
  // A run of which nobody saw the end is no stop.
  for (const { end } of records) if (end !== 'unknown') counts.set(end, (counts.get(end) ?? 0) + 1);
  return [...counts].sort().map(([end, count]) => [{ vm: name, end }, count]);
}

/** The last stop on a signal. */
function lastStopOf({ name, records }: MeasuredVm): Sample[] {
  const { ms } = records.filter(({ signal }) => signal !== null).at(-1) ?? { ms: null };
  return ms === null ? [] : [[{ vm: name }, ms / 1000]];
}

function cutOffOf({ name, records }: MeasuredVm): Sample[] {
  const last = lastEnd(records);
  // Of a run whose end is unknown it cannot be said that the guest was not.
  return last === null ? [] : [[{ vm: name }, last.cut_off === false ? 0 : 1]];
}

export function asMetrics(vms: readonly MeasuredVm[]): string {
  return [
    family(
      'qemu_trap_up',
      'gauge',
      'Whether a qemu-trap serves the VM.',
      vms.map(({ name, isUp }) => [{ vm: name }, isUp ? 1 : 0]),
    ),
    family('qemu_trap_stops_total', 'counter', 'Ends of the VM that its history has, by kind.', vms.flatMap(endsOf)),
    family(
      'qemu_trap_last_cut_off',
      'gauge',
      'Whether the guest was cut off at the last end of the VM, or may have been.',
      vms.flatMap(cutOffOf),
    ),
    family(
      'qemu_trap_last_stop_seconds',
      'gauge',
      'From the signal to the end, at the last stop of the VM on a signal.',
      vms.flatMap(lastStopOf),
    ),
  ].join('');
}
