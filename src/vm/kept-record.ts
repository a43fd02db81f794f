import type { Log } from '../log/log.js';
import type { Config } from '../options/command.js';
import { isNamed } from '../qemu/argv.js';
import { historyFile } from '../status/history.js';
import { OpenRecord } from '../status/open-record.js';
import { errorText } from '../system/usage-error.js';
import type { RunRecord } from '../status/run-record.js';

/** How this run ended: all of it is known. */
export type Ended = Omit<RunRecord, 'v' | 'run'> & { readonly ms: number; readonly cut_off: boolean };

/** The VM's name was made of its command line, and is another one with the next change of that. */
function isNamedByDefault({ name, qemu, attach }: Config): boolean {
  return name === null && attach === null && !isNamed(qemu);
}

/** The record of this run in the VM's history. One that cannot be written is told of once, and stops nothing. */
export class KeptRecord {
  /** Where it is kept; `null` if nowhere. */
  readonly path: string | null;
  #record: OpenRecord | null;
  #hasFailed = false;

  /** @param isTrusted false if the state directory is in the hands of others */
  constructor(
    config: Config,
    vm: string,
    isTrusted: boolean,
    private readonly log: Log,
  ) {
    this.path = isTrusted ? historyFile(config.stateDir, vm, process.env) : null;
    this.#record = this.path === null ? null : OpenRecord.of(this.path, vm, isNamedByDefault(config));
  }

  begin(qemuPid: number): void {
    this.#keep((open) => {
      const { record, endless } = open.begin(qemuPid);
      this.#record = record;
      if (endless === null) return;
      this.log({
        event: 'end-unknown',
        level: 'warning',
        message: `it is unknown how the last run (started ${endless.time}) ended: its qemu-trap was killed, or this host lost power; the guest may have been cut off`,
        facts: { started: endless.time },
      });
    });
  }

  end(how: Ended): void {
    this.#keep((record) => record.end(how));
  }

  /** QEMU was called for something else than a guest (`-version`, say). */
  forget(): void {
    this.#keep((record) => record.forget());
  }

  #keep(write: (record: OpenRecord) => void): void {
    if (this.#record === null) return;
    try {
      write(this.#record);
    } catch (error) {
      if (this.#hasFailed) return;
      this.#hasFailed = true;
      const { path } = this;
      this.log({
        event: 'history-failed',
        level: 'warning',
        message: `${path}: the history of this run cannot be written (${errorText(error)}), so qemu-trap --status will not show it; name another directory with --state-dir`,
        facts: { path },
      });
    }
  }
}
