/** The variable that carries the runId. */
export const runIdVariable = 'QEMU_TRAP_COOKIE';

/** The environment of a program that qemu-trap starts for itself: what is left of a hook is ended, and this is not. */
export function helperEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return { ...env, [runIdVariable]: 'none' };
}
