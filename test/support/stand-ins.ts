import { mkdirSync, writeFileSync } from 'node:fs';
import { type Lab, read } from './lab.js';

/**
 * Programs that cannot be had here, or must not be, first in the `PATH` of `env`: each writes down what it is called
 * with, and then runs its own commands.
 */
export function standIns(
  lab: Lab,
  programs: Readonly<Record<string, string>>,
): { readonly env: NodeJS.ProcessEnv; readonly calls: () => string[] } {
  const bin = lab.file('bin');
  mkdirSync(bin);
  for (const [name, then] of Object.entries(programs))
    writeFileSync(`${bin}/${name}`, `#!/bin/sh\necho "${name} $*" >>${lab.file('calls')}\n${then}\n`, { mode: 0o755 });
  return {
    env: { PATH: `${bin}:${process.env['PATH']}` },
    calls: () => read(lab.file('calls')).trim().split('\n').filter(Boolean),
  };
}
