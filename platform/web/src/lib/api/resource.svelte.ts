import { describe, kindOf, type FailureKind } from "./errors";

/** Something read from the server, and how that went. A newer reading takes the place of one that is under way. */
export class Resource<Value> {
  value = $state.raw<Value | null>(null);
  phase = $state<"loading" | "ready" | FailureKind>("loading");
  /** While it is read, also where what was there stays meanwhile. */
  reading = $state(false);
  /** Why what is shown isn't newer. */
  problem = $state<string | null>(null);
  readonly #read: () => Promise<Value>;
  #last = 0;

  constructor(read: () => Promise<Value>) {
    this.#read = read;
  }

  /**
   * With `meanwhile`, what is there stays while it is read again; with `quietly` also when that fails: not for where
   * something else is asked, of which what is there would be a wrong answer.
   */
  async load(options: { quietly?: boolean; meanwhile?: boolean } = {}): Promise<void> {
    this.#last += 1;
    const mine = this.#last;
    const quietly = options.quietly === true && this.phase === "ready";
    if (!quietly && !(options.meanwhile === true && this.phase === "ready")) this.phase = "loading";
    this.reading = true;
    this.problem = null;
    try {
      const value = await this.#read();
      if (mine !== this.#last) return;
      this.value = value;
      this.phase = "ready";
    } catch (error) {
      if (mine !== this.#last) return;
      if (quietly) this.problem = describe(error);
      else this.phase = kindOf(error);
    } finally {
      if (mine === this.#last) this.reading = false;
    }
  }
}
