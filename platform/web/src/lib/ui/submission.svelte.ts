import { ApiError, describe } from "$lib/api/errors";

/** A form on its way to the server: whether it is, and what was wrong with it, by field where there is one for it. */
export class Submission<Field extends string = string> {
  busy = $state(false);
  problem = $state<string | null>(null);
  fields = $state.raw<Partial<Record<Field, string>>>({});
  readonly #known: readonly Field[];

  constructor(...known: Field[]) {
    this.#known = known;
  }

  clear(): void {
    this.problem = null;
    this.fields = {};
  }

  /** Says what is wrong before anything is sent. Whether nothing is. */
  check(problems: Partial<Record<Field, string | false | null>>): boolean {
    this.problem = null;
    const found = Object.entries(problems).filter((one): one is [Field, string] => typeof one[1] === "string");
    this.fields = Object.fromEntries(found) as Partial<Record<Field, string>>;
    return found.length === 0;
  }

  /** Does the work, unless it is being done. Whether it went well. */
  async run(work: () => Promise<void>): Promise<boolean> {
    if (this.busy) return false;
    this.busy = true;
    this.clear();
    try {
      await work();
      return true;
    } catch (error) {
      this.#refused(error);
      return false;
    } finally {
      this.busy = false;
    }
  }

  #refused(error: unknown): void {
    const said = error instanceof ApiError ? error.fields : {};
    const placed: Partial<Record<Field, string>> = {};
    for (const [name, message] of Object.entries(said)) {
      const field = this.#known.find((known) => name === known || name.startsWith(`${known}.`));
      if (field !== undefined) placed[field] = message;
    }
    this.fields = placed;
    if (Object.keys(placed).length === 0) this.problem = describe(error);
  }
}
