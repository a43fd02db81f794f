/** The call was wrong, or cannot be served: its message is the one line that says so. Exit status 125 unless named. */
export class UsageError extends Error {
  override readonly name = 'UsageError';

  constructor(
    message: string,
    readonly status: number = 125,
  ) {
    super(message);
  }
}

/** What an error says of itself, whatever was thrown. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
