/** A generator of random numbers below 1, from a seed (Park and Miller's). */
export function seeded(seed: number): () => number {
  let state = seed % 2147483647;
  return () => (state = (state * 48271) % 2147483647) / 2147483647;
}
