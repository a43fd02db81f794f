import { createServer, type Server, type Socket } from 'node:net';
import { dialMonitor } from '../../qmp/dial.js';

/** Who said it. */
type Speaker = 'hook' | 'QEMU';

/** How long QEMU has to take a connection, in milliseconds. */
const dialWithinMs = 10_000;
/** A line that has not ended is told after so many bytes. */
const longestLine = 64 * 1024;

/** 0xFF, which resets QEMU's JSON lexer (docs/interop/qmp-spec of QEMU), is no character of UTF-8. */
function plain(line: string): string {
  return line.trim().replaceAll('\ufffd', '\\xff');
}

/** Cuts a stream into lines, and tells each. */
function lines(tell: (line: string) => void): { take(chunk: Buffer): void; end(): void } {
  let rest = '';
  return {
    take: (chunk) => {
      const parts = (rest + chunk.toString('utf8')).split('\n');
      rest = parts.pop() ?? '';
      if (rest.length > longestLine) {
        parts.push(rest);
        rest = '';
      }
      for (const part of parts) if (part.trim() !== '') tell(plain(part));
    },
    end: () => {
      if (rest.trim() !== '') tell(plain(rest));
      rest = '';
    },
  };
}

/**
 * Listens at `path` in the place of the monitor at `monitor`, passes all on between the two, and tells what is said.
 * @param isLast true of a line with which a connection is not the hook's any more: neither it nor what follows is told
 * @throws NodeJS.ErrnoException if it cannot listen there
 */
export async function tapMonitor(
  monitor: string,
  path: string,
  tell: (speaker: Speaker, line: string) => void,
  isLast: (line: string) => boolean,
): Promise<Server> {
  const pass = (from: Socket, to: Socket, said: ReturnType<typeof lines>): void => {
    from.on('data', (chunk: Buffer) => {
      said.take(chunk);
      to.write(chunk);
    });
    from.on('error', () => undefined);
    from.on('close', () => {
      said.end();
      to.end();
    });
    // It was dialled paused.
    from.resume();
  };
  const server = createServer((client) => {
    dialMonitor(monitor, dialWithinMs).then(
      (qemu) => {
        let isOver = false;
        const listen = (speaker: Speaker): ReturnType<typeof lines> =>
          lines((line) => {
            isOver ||= isLast(line);
            if (!isOver) tell(speaker, line);
          });
        pass(client, qemu, listen('hook'));
        pass(qemu, client, listen('QEMU'));
      },
      () => client.destroy(),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  server.unref();
  return server;
}
