/** For what is removed at the end: gone already, or a directory that is not empty, is no reason to fail. */
export function quietly(remove: () => void): void {
  try {
    remove();
  } catch {
    // It stays.
  }
}
