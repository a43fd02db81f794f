const patienceMs = 120_000;

/** @throws where `what` takes longer than anything here may */
export async function inTime<T>(what: string, happens: Promise<T>): Promise<T> {
  let timer!: NodeJS.Timeout;
  const late = new Promise<never>(
    (_, reject) => (timer = setTimeout(() => reject(new Error(`not in time: ${what}`)), patienceMs)),
  );
  try {
    return await Promise.race([happens, late]);
  } finally {
    clearTimeout(timer);
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

let offset = 0;

/** Sets {@link wallClock} by the host's clock, which may have been slewed: Node's own is set once, at its start. */
export function setClock(): void {
  const before = Date.now();
  let now = before;
  while (now === before) now = Date.now();
  offset = now - performance.now();
}
setClock();

/** The clock that QEMU stamps its events with, in milliseconds with fractions. */
export function wallClock(): number {
  return offset + performance.now();
}

/** What every contender gets: with NODE_EXTRA_CA_CERTS, Node's start is the reading of certificates. */
export function environment(): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = { ...process.env, QEMU_TRAP_HOOKS: '' };
  delete env['NODE_EXTRA_CA_CERTS'];
  delete env['NOTIFY_SOCKET'];
  return env;
}
