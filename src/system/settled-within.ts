/** Settled when `what` is, or when `ms` milliseconds are over. */
export function within(ms: number, what: Promise<unknown>): Promise<unknown> {
  let timer: NodeJS.Timeout;
  return Promise.race([what, new Promise((resolve) => (timer = setTimeout(resolve, ms)))]).finally(() =>
    clearTimeout(timer),
  );
}
