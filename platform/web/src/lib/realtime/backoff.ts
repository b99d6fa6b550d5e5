/** Reconnect delays: exponential with full jitter, each drawn from [0, min(30 s, 0.5 s × 2ⁿ)]. */
export const BACKOFF_FIRST_MS = 500;
export const BACKOFF_MAX_MS = 30_000;

export class Backoff {
  #attempt = 0;
  readonly #random: () => number;

  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  /** Delay in ms before the next attempt; each call widens the range. */
  next(): number {
    const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** this.#attempt);
    this.#attempt = Math.min(this.#attempt + 1, 16);
    return this.#random() * ceiling;
  }

  reset(): void {
    this.#attempt = 0;
  }
}
