import { spawnSync } from 'node:child_process';

/** Why strace(1) cannot be used, or `false`. */
export const noStrace: string | false =
  spawnSync('strace', ['-D', '-qq', '-o', '/dev/null', 'true']).status === 0 ? false : 'no process can be traced here';

/**
 * Words that run what follows them under strace, with its own process id. Threads and children are not traced.
 * @param expressions as after `-e`
 * @param more other options, `-P` say
 */
export function traced(log: string, expressions: readonly string[], more: readonly string[] = []): string[] {
  const all = ['signal=none', ...expressions].flatMap((each) => ['-e', each]);
  return ['strace', '-D', '-y', '-qq', '-o', log, ...more, ...all];
}

/**
 * Words that run what follows them with each new session (setsid(2)) put off, of children too: a hook is in the process
 * group of qemu-trap for `ms` milliseconds.
 */
export function withLateSessions(log: string, ms: number): string[] {
  const late = ['trace=setsid', `inject=setsid:delay_enter=${ms * 1_000}`];
  // A tracer in a session of its own does not get what is sent to the group.
  return ['strace', '-DDD', '-f', '-qq', '-o', log, ...['signal=none', ...late].flatMap((each) => ['-e', each])];
}
