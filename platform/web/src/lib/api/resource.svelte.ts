import { kindOf, type FailureKind } from "./errors";

/** Something read from the server, and how that went. A newer reading takes the place of one that is under way. */
export class Resource<Value> {
  value = $state.raw<Value | null>(null);
  phase = $state<"loading" | "ready" | FailureKind>("loading");
  readonly #read: () => Promise<Value>;
  #last = 0;

  constructor(read: () => Promise<Value>) {
    this.#read = read;
  }

  /** With `quietly`, what is there stays while it is read again, and when that fails. */
  async load(options: { quietly?: boolean } = {}): Promise<void> {
    this.#last += 1;
    const mine = this.#last;
    const quietly = options.quietly === true && this.phase === "ready";
    if (!quietly) this.phase = "loading";
    try {
      const value = await this.#read();
      if (mine !== this.#last) return;
      this.value = value;
      this.phase = "ready";
    } catch (error) {
      if (mine === this.#last && !quietly) this.phase = kindOf(error);
    }
  }
}
