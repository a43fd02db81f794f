/** How a hook's run ended. */
export type HookOutcome =
  | { readonly kind: 'done' }
  /** Exit status 75, EX_TEMPFAIL of sysexits(3): not now. */
  | { readonly kind: 'not-now' }
  | { readonly kind: 'failed'; readonly why: string };

const EX_TEMPFAIL = 75;

/** A hook's outcome from how its process ended. */
export function hookOutcome(code: number | null, signal: NodeJS.Signals | null): HookOutcome {
  if (signal !== null) return { kind: 'failed', why: `was killed by ${signal}` };
  if (code === 0) return { kind: 'done' };
  if (code === EX_TEMPFAIL) return { kind: 'not-now' };
  return { kind: 'failed', why: `exited with status ${code}` };
}
