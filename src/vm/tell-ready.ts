import type { RunContext } from './context.js';

/** Says that the VM runs: in the log, to the service manager, and on `--ready-fd`. */
export function tellReady({ ready, log, manager }: RunContext): void {
  log({ event: 'ready', level: 'info', message: 'the VM is running' });
  manager.ready();
  ready?.tell((why) =>
    log({
      event: 'ready-failed',
      level: 'warning',
      message: `--ready-fd ${ready.number}: the newline cannot be written: ${why}`,
    }),
  );
}
