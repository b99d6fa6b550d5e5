import { ApiError } from "$lib/api/errors";
import type { TokenSource } from "$lib/api/client";
import type { Session } from "$lib/api/types";

/** A token this close to its end is renewed before use. */
const RENEW_BEFORE_MS = 30_000;
const LOCK = "parley.refresh";
const CHANNEL = "parley.session";

export type TabMessage = { kind: "session"; session: Session; expiresAtMs: number } | { kind: "signed-out" };

export interface TokenEvents {
  onSession(session: Session): void;
  onSignedOut(): void;
}

/**
 * Holds the access token, in memory only, and renews it by the refresh cookie. Renewal is single-flight: within a tab
 * by a shared promise, between tabs by a Web Lock and a broadcast, so that two tabs never rotate the cookie at once.
 */
export class Tokens implements TokenSource {
  readonly #refresh: () => Promise<Session>;
  readonly #events: TokenEvents;
  readonly #channel: BroadcastChannel | null;
  #session: Session | null = null;
  #expiresAtMs = 0;
  #adoptions = 0;
  #flight: Promise<Session> | null = null;

  constructor(refresh: () => Promise<Session>, events: TokenEvents) {
    this.#refresh = refresh;
    this.#events = events;
    this.#channel = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel(CHANNEL);
    this.#channel?.addEventListener("message", ({ data }: MessageEvent<TabMessage>) => this.#hear(data));
  }

  /** Takes a session from a sign-in, a switch or a refresh, and shares it with the other tabs. */
  adopt(session: Session): void {
    const expiresAtMs = Date.now() + session.expires_in * 1_000;
    this.#take(session, expiresAtMs);
    this.#channel?.postMessage({ kind: "session", session, expiresAtMs } satisfies TabMessage);
  }

  /** Forgets the session here and in the other tabs. */
  clear(): void {
    this.#session = null;
    this.#channel?.postMessage({ kind: "signed-out" } satisfies TabMessage);
  }

  async token(fresh = false): Promise<string> {
    if (!fresh && this.#session !== null && this.#expiresAtMs - Date.now() > RENEW_BEFORE_MS) {
      return this.#session.access;
    }
    return (await this.renew()).access;
  }

  /** Renews the session. Raises what the server or network said; a refusal also signs out. */
  renew(): Promise<Session> {
    this.#flight ??= this.#renewOnce().finally(() => (this.#flight = null));
    return this.#flight;
  }

  async #renewOnce(): Promise<Session> {
    const adoptions = this.#adoptions;
    return exclusively(async () => {
      // Another tab renewed while this one waited for the lock, and told us: its session serves both.
      if (this.#adoptions > adoptions && this.#session !== null) return this.#session;
      try {
        const session = await this.#refresh();
        this.adopt(session);
        return session;
      } catch (error) {
        if (error instanceof ApiError && (error.status === 401 || error.status === 403)) {
          this.#session = null;
          this.#events.onSignedOut();
        }
        throw error;
      }
    });
  }

  #take(session: Session, expiresAtMs: number): void {
    this.#session = session;
    this.#expiresAtMs = expiresAtMs;
    this.#adoptions += 1;
    this.#events.onSession(session);
  }

  #hear(message: TabMessage): void {
    if (message.kind === "session") {
      this.#take(message.session, message.expiresAtMs);
    } else {
      this.#session = null;
      this.#events.onSignedOut();
    }
  }
}

/** Runs `work` while no other tab of the app does. (Without Web Locks, on plain HTTP, the server's grace covers it.) */
function exclusively<Result>(work: () => Promise<Result>): Promise<Result> {
  const locks = (navigator as Partial<Navigator>).locks;
  return locks === undefined ? work() : (locks.request(LOCK, work) as Promise<Result>);
}
