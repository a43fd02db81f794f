import { runFiles } from '../run-dir/files.js';
import { readStatus, monotonicMs } from '../status/file.js';
import type { FoundVm } from '../status/find.js';
import { historyFile, recordOf } from '../status/history.js';
import { identify, isIdentityAlive } from '../system/process-identity.js';

/** How long a QEMU that runs may be left alone by its qemu-trap before that has done all it does on SIGTERM, in milliseconds. */
const idleMs = 10_000;

/** How long a QEMU may take to die of its qemu-trap's death, in milliseconds. */
const dyingMs = 5_000;

/** How a VM that was told to stop has taken it. */
export interface StopOutcome {
  readonly kind: 'clean' | 'not-clean' | 'not-stopped';
  readonly words: string;
}

/** What is waited for. */
interface Stopping {
  readonly name: string;
  /** Its qemu-trap, and its QEMU, by pid and start time; `''`: it has none. */
  readonly trap: string;
  readonly qemu: string;
  readonly runDir: string | null;
  readonly history: string | null;
}

/** A VM that was told to stop. */
export class StoppingVm {
  readonly #since = Date.now();
  #idleSince: number | null = null;
  #trapDiedAt: number | null = null;

  constructor(private readonly vm: Stopping) {}

  /** Tells a VM to stop. */
  static tell(found: FoundVm & { readonly pid: number }, stateDir: string | null, env: NodeJS.ProcessEnv): StoppingVm {
    const { name } = found;
    const { runDir } = found;
    const history = found.status?.history ?? historyFile(stateDir, name, env);
    const [trap, qemu] = [found.pid, found.qemuPid].map((pid) => (pid === null ? '' : (identify(pid) ?? '')));
    try {
      process.kill(found.pid, 'SIGTERM');
    } catch {
      // It has ended meanwhile, which is as well.
    }
    return new StoppingVm({ name, trap: trap ?? '', qemu: qemu ?? '', runDir, history });
  }

  get name(): string {
    return this.vm.name;
  }

  /** @returns how it went; `null`: it is still stopping */
  look(): StopOutcome | null {
    if (!isIdentityAlive(this.vm.trap)) return this.#end();
    const now = performance.now();
    const isIdle = isIdentityAlive(this.vm.qemu) && this.#serving.length === 0;
    this.#idleSince = isIdle ? (this.#idleSince ?? now) : null;
    if (this.#idleSince === null || now - this.#idleSince < idleMs) return null;
    const words = 'the guest runs on, because its hook said "not now", or its rule for SIGTERM does not stop it';
    return { kind: 'not-stopped', words: `not stopped: ${words}` };
  }

  /** What is left, in seconds, for people. */
  get progress(): string {
    const until = this.#serving[0]?.until ?? null;
    return until === null ? this.name : `${this.name} (${Math.max(0, Math.ceil((until - monotonicMs()) / 1_000))} s)`;
  }

  get #serving() {
    const { runDir } = this.vm;
    return runDir === null ? [] : (readStatus(`${runDir}/${runFiles.status}`)?.serving ?? []);
  }

  /** @returns `null` if its QEMU may be killed with a qemu-trap that was killed, and still has to die */
  #end(): StopOutcome | null {
    const record = this.vm.history === null ? null : recordOf(this.vm.history, this.vm.trap, this.#since);
    if (record !== null) return { kind: record.cut_off === false ? 'clean' : 'not-clean', words: record.message };
    if (isIdentityAlive(this.vm.qemu)) {
      this.#trapDiedAt ??= performance.now();
      if (performance.now() - this.#trapDiedAt < dyingMs) return null;
      return { kind: 'not-stopped', words: 'not stopped: its qemu-trap was killed meanwhile, and the guest runs on' };
    }
    return { kind: 'not-clean', words: 'it has ended, and how is not recorded' };
  }
}
