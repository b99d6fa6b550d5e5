/** Sums over the disjoint meters of a usage record: what went to the model, and what came from it. */
export type Tokens = Readonly<Record<string, number>>;

export function tokensIn(tokens: Tokens): number {
  return (tokens["input"] ?? 0) + (tokens["cache_read"] ?? 0) + (tokens["cache_write"] ?? 0);
}

export function tokensOut(tokens: Tokens): number {
  return (tokens["output"] ?? 0) + (tokens["reasoning"] ?? 0);
}
