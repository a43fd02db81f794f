import { unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { QmpError } from '../qmp/messages.js';
import { AgentSilent, askAgent } from './client.js';
import { runFiles } from '../run-dir/files.js';
import { freezes, thaws } from './freeze-guard.js';

/*
 * The command `qga` of the hooks: hooks/lib/qga runs it. Exit status: 0 done; 1 the agent answered with an error, or
 * not at all; 2 called wrongly.
 */

async function main(argv: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  const complain = (words: string, status: number): number => {
    process.stderr.write(`qga: ${words}\n`);
    return status;
  };
  const [command, json, ...rest] = argv;
  if (command === undefined || command.startsWith('-') || rest.length > 0) {
    return complain('usage: qga COMMAND [ARGUMENTS], the arguments as JSON', 2);
  }
  const socket = env['QEMU_TRAP_AGENT'];
  if (!socket) return complain("no guest agent socket: name it with qemu-trap's option --agent SOCKET", 2);
  let args: Record<string, unknown> | undefined;
  try {
    args = json === undefined ? undefined : (JSON.parse(json) as Record<string, unknown>);
  } catch {
    return complain(`${command}: the arguments are not JSON: ${json}`, 2);
  }

  const runDir = env['QEMU_TRAP_RUN_DIR'];
  const mark = runDir ? join(runDir, runFiles.frozen) : null;
  try {
    // The hook's own deadline is the command's.
    const answer = await askAgent(socket, command, args, null, () => {
      if (mark !== null && freezes.includes(command)) writeFileSync(mark, '', { mode: 0o600 });
    });
    if (mark !== null && thaws === command) {
      try {
        unlinkSync(mark);
      } catch {
        // It was frozen by another client.
      }
    }
    const text = JSON.stringify(answer);
    if (text !== '{}') process.stdout.write(`${text}\n`);
    return 0;
  } catch (error) {
    if (error instanceof QmpError) return complain(`${command}: ${error.desc}`, 1);
    if (error instanceof AgentSilent) return complain(error.message, 1);
    throw error;
  }
}

void main(process.argv.slice(2), process.env).then((status) => {
  process.exitCode = status;
});
