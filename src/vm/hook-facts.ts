import { libDir } from '../hook/find.js';
import type { CommonFacts } from '../hook/run.js';
import { formatPress } from '../options/press.js';
import type { RunDir } from '../run-dir/run-dir.js';
import type { RunContext } from './context.js';

/** What every hook of a VM is told, on whatever occasion. */
export function hookFacts({ book, config, vm, stateFile }: RunContext, runDir: RunDir): CommonFacts {
  return {
    vm,
    hooksDir: book.dirs.user ?? book.dirs.bundled,
    libDir: libDir(book.dirs),
    press: formatPress(config.pressGaps),
    agent: config.agent,
    runDir: runDir.path,
    stateFile: stateFile?.path ?? null,
  };
}
