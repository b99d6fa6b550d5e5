import type { ApiClient } from "$lib/api/client";

const EVERY_MS = 60_000;
/** The server counts no further. */
export const COUNTED_MAX = 1_000;

/** How many notices one has not read; asked for each minute while the page is seen. */
export class Unread {
  count = $state(0);
  readonly #api: ApiClient;
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(api: ApiClient) {
    this.#api = api;
  }

  start(): void {
    void this.load();
    this.#timer = setInterval(() => {
      if (document.visibilityState === "visible") void this.load();
    }, EVERY_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async load(): Promise<void> {
    try {
      this.count = (await this.#api.get<{ unread: number }>("/notifications/unread")).unread;
    } catch {
      // The number that was known stays, until the next time.
    }
  }
}
