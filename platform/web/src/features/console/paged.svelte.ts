import type { ApiClient, Query } from "$lib/api/client";
import { describe, kindOf, type FailureKind } from "$lib/api/errors";
import type { Page } from "$lib/api/types";

const PAGE_SIZE = 50;

/** A list read page by page from one address. A newer reading from its start takes the place of those under way. */
export class Paged<Item extends { id: string }> {
  list = $state.raw<Item[]>([]);
  phase = $state<"loading" | "ready" | FailureKind>("loading");
  loadingMore = $state(false);
  /** Why the next page isn't here, or what is shown isn't newer. */
  problem = $state<string | null>(null);
  #cursor = $state<string | null>(null);
  readonly #api: ApiClient;
  readonly #path: string;
  readonly #query: () => Query;
  #last = 0;

  /** `query` is asked for each page. */
  constructor(api: ApiClient, path: string, query: () => Query = () => ({})) {
    this.#api = api;
    this.#path = path;
    this.#query = query;
  }

  get hasMore(): boolean {
    return this.#cursor !== null;
  }

  /** With `quietly`, what is listed stays while it is read again, and, with the problem, when that fails. */
  async load(options: { quietly?: boolean } = {}): Promise<void> {
    this.#last += 1;
    const mine = this.#last;
    const quietly = options.quietly === true && this.phase === "ready";
    if (!quietly) this.phase = "loading";
    this.problem = null;
    this.loadingMore = false;
    try {
      const page = await this.#page(null);
      if (mine !== this.#last) return;
      this.list = page.data;
      this.#cursor = page.next_cursor;
      this.phase = "ready";
    } catch (error) {
      if (mine !== this.#last) return;
      if (quietly) this.problem = describe(error);
      else this.phase = kindOf(error);
    }
  }

  async loadMore(): Promise<void> {
    if (this.loadingMore || this.#cursor === null) return;
    const mine = this.#last;
    this.loadingMore = true;
    this.problem = null;
    try {
      const page = await this.#page(this.#cursor);
      if (mine !== this.#last) return;
      this.list = [...this.list, ...page.data];
      this.#cursor = page.next_cursor;
    } catch (error) {
      if (mine === this.#last) this.problem = describe(error);
    } finally {
      if (mine === this.#last) this.loadingMore = false;
    }
  }

  /** Reads the first page anew; what is listed is brought up to date, without a word when that fails. */
  async refresh(): Promise<void> {
    if (this.phase !== "ready") return;
    try {
      const fresh = (await this.#page(null)).data;
      const byId = new Map(fresh.map((item) => [item.id, item]));
      this.list = this.list.map((item) => byId.get(item.id) ?? item);
    } catch {
      // What is shown is a little older, then.
    }
  }

  drop(id: string): void {
    this.list = this.list.filter((listed) => listed.id !== id);
  }

  put(item: Item): void {
    const known = this.list.some(({ id }) => id === item.id);
    this.list = known ? this.list.map((listed) => (listed.id === item.id ? item : listed)) : [item, ...this.list];
  }

  #page(cursor: string | null): Promise<Page<Item>> {
    return this.#api.get<Page<Item>>(this.#path, { ...this.#query(), limit: PAGE_SIZE, cursor });
  }
}
