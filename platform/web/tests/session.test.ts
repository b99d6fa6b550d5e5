import { afterEach, describe, expect, it, vi } from "vitest";
import { ApiClient } from "$lib/api/client";
import { ApiError, NetworkError } from "$lib/api/errors";
import type { Session } from "$lib/api/types";
import { Tokens, type TabMessage } from "$features/session/tokens";

function session(access: string, expires_in = 300): Session {
  const tenant = { id: "t", slug: "acme", name: "Acme" };
  return {
    access, expires_in, tenant,
    person: { id: "p", email: "alice@acme.test", name: "Alice" },
    membership: { id: "m", role: "owner", permissions: [] },
    memberships: [],
  };
}

/** Tabs of one browser: a shared lock and a channel between them. */
class Browser {
  readonly channels: FakeChannel[] = [];
  #queue: Promise<unknown> = Promise.resolve();

  constructor() {
    const { channels } = this;
    vi.stubGlobal(
      "BroadcastChannel",
      class extends FakeChannel {
        constructor() {
          super(channels);
        }
      },
    );
    vi.stubGlobal("navigator", {
      locks: {
        request: (_name: string, work: () => Promise<unknown>) => {
          const run = this.#queue.then(work);
          this.#queue = run.catch(() => undefined);
          return run;
        },
      },
    });
  }
}

class FakeChannel {
  readonly #others: FakeChannel[];
  readonly #listeners: ((event: { data: TabMessage }) => void)[] = [];

  constructor(others: FakeChannel[]) {
    this.#others = others;
    others.push(this);
  }

  addEventListener(_type: string, listener: (event: { data: TabMessage }) => void): void {
    this.#listeners.push(listener);
  }

  postMessage(data: TabMessage): void {
    for (const other of this.#others) if (other !== this) for (const listener of other.#listeners) listener({ data });
  }
}

const quiet = { onSession: () => undefined, onSignedOut: () => undefined };

afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

describe("tokens", () => {
  it("renews once for callers that ask together", async () => {
    const refresh = vi.fn(() => Promise.resolve(session("a1")));
    const tokens = new Tokens(refresh, quiet);
    expect(await Promise.all([tokens.token(), tokens.token(), tokens.token(true)])).toEqual(["a1", "a1", "a1"]);
    expect(refresh).toHaveBeenCalledTimes(1);
  });

  it("keeps a token until 30 s before its end", async () => {
    vi.useFakeTimers();
    let made = 0;
    const tokens = new Tokens(() => Promise.resolve(session(`a${(made += 1)}`)), quiet);
    expect(await tokens.token()).toBe("a1");
    vi.advanceTimersByTime(269_000);
    expect(await tokens.token()).toBe("a1");
    vi.advanceTimersByTime(2_000);
    expect(await tokens.token()).toBe("a2");
  });

  it("rotates once when two tabs renew at the same time", async () => {
    new Browser();
    let made = 0;
    const refresh = vi.fn(() => Promise.resolve(session(`a${(made += 1)}`)));
    const [one, two] = [new Tokens(refresh, quiet), new Tokens(refresh, quiet)];
    expect(await Promise.all([one.token(), two.token()])).toEqual(["a1", "a1"]);
    expect(refresh).toHaveBeenCalledTimes(1);
  });

  it("signs every tab out when one does", async () => {
    new Browser();
    const onSignedOut = vi.fn();
    const one = new Tokens(() => Promise.resolve(session("a1")), quiet);
    new Tokens(() => Promise.resolve(session("a2")), { ...quiet, onSignedOut });
    await one.token();
    one.clear();
    expect(onSignedOut).toHaveBeenCalledOnce();
  });

  it("signs out when the cookie is refused, and not when the network fails", async () => {
    const onSignedOut = vi.fn();
    const refresh = vi.fn<() => Promise<Session>>().mockRejectedValueOnce(new NetworkError());
    const tokens = new Tokens(refresh, { ...quiet, onSignedOut });
    await expect(tokens.token()).rejects.toThrow(NetworkError);
    expect(onSignedOut).not.toHaveBeenCalled();
    refresh.mockRejectedValueOnce(new ApiError(401, {}, null));
    await expect(tokens.token()).rejects.toThrow(ApiError);
    expect(onSignedOut).toHaveBeenCalledOnce();
  });
});

describe("calls", () => {
  it("renews a refused token once and repeats the call", async () => {
    const fetched = vi.fn((_url: string, init: RequestInit) => {
      const { authorization } = init.headers as Record<string, string>;
      const good = authorization === "Bearer a2";
      return Promise.resolve(new Response(good ? '{"ok":true}' : "{}", { status: good ? 200 : 401 }));
    });
    vi.stubGlobal("fetch", fetched);
    let made = 0;
    const client = new ApiClient(new Tokens(() => Promise.resolve(session(`a${(made += 1)}`)), quiet));
    expect(await client.get("/me")).toEqual({ ok: true });
    expect(fetched).toHaveBeenCalledTimes(2);
  });

  it("reads the error envelope and Retry-After", async () => {
    const body = JSON.stringify({ type: "rate", code: "rate_limited", message: "Slow down.", request_id: "r1" });
    vi.stubGlobal("fetch", () => Promise.resolve(new Response(body, { status: 429, headers: { "retry-after": "42" } })));
    const client = new ApiClient({ token: () => Promise.resolve("a") });
    await expect(client.get("/me")).rejects.toMatchObject({ status: 429, code: "rate_limited", retryAfterS: 42, requestId: "r1" });
  });
});
