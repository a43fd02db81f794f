import { spawn } from 'node:child_process';
import type { TestContext } from 'node:test';
import { shellQuote } from '../../src/system/permissions.js';
import { type Lab, isAlive, program, read } from './lab.js';

export interface TerminalOptions {
  readonly options?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  /** Where qemu-trap's log goes: a file, in JSON, or the terminal, for people. */
  readonly log?: 'file' | 'terminal';
  /** What the terminal's shell runs, made of the command for qemu-trap. */
  readonly shell?: (command: string) => string;
}

/** qemu-trap in a pseudo-terminal of its own; `script` of util-linux is the terminal. */
export function atTerminal(
  t: TestContext,
  lab: Lab,
  guest: readonly string[],
  { options = [], env = {}, log = 'file', shell = (command) => `exec ${command}` }: TerminalOptions = {},
) {
  const file = lab.file('log');
  const words = [
    process.execPath,
    program,
    '--run-dir',
    lab.runDir,
    '--state-dir',
    lab.file('state'),
    ...(log === 'file' ? ['--log', 'json'] : []),
    ...options,
    '--',
    ...guest,
  ];
  const child = spawn(
    'script',
    ['-qec', shell(`${words.map(shellQuote).join(' ')}${log === 'file' ? ` 2>${file}` : ''}`), '/dev/null'],
    {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, QEMU_TRAP_HOOKS: '', TERM: 'xterm', NO_COLOR: '', ...env },
    },
  );
  const seen = { text: '' };
  child.stdout.on('data', (chunk) => (seen.text += chunk));
  const logged = (): string => (log === 'file' ? read(file) : seen.text);
  t.after(() => {
    const pid = Number(/(?:"pid":|QEMU started \(pid )(\d+)/.exec(logged())?.[1] ?? 0);
    child.kill('SIGKILL');
    if (pid > 0 && isAlive(pid)) process.kill(pid, 'SIGKILL');
  });
  const exited = new Promise<number | null>((resolve) => child.on('close', resolve));
  return { child, seen, exited, log: logged, type: (text: string) => child.stdin.write(text) };
}

/** The guest with its serial line on the terminal. */
export function stdioGuest(lab: Lab, ...args: Parameters<Lab['guest']>): string[] {
  return lab.guest(...args).map((word) => (word.startsWith('file:') ? 'stdio' : word));
}
