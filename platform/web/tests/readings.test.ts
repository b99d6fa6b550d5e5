import { describe, expect, it } from "vitest";
import { ApiClient, type Query } from "$lib/api/client";
import { NetworkError } from "$lib/api/errors";
import { Resource } from "$lib/api/resource.svelte";
import type { Invoice, Room } from "$lib/api/types";
import { Paged } from "$features/console/paged.svelte";
import { dayOf, periodOf } from "$features/invoices/invoices";
import { Rooms, isUnread } from "$features/rooms/state.svelte";

type Answer = { data: { id: string }[]; next_cursor: string | null };

/** A server whose answers come when the test says so. */
class Server extends ApiClient {
  readonly asked: { query: Query | undefined; answer: (answer: Answer) => void; fail: () => void }[] = [];

  constructor() {
    super({ token: () => Promise.resolve("") });
  }

  override get<Found>(_path: string, query?: Query): Promise<Found> {
    return new Promise((resolve, reject) => {
      this.asked.push({ query, answer: (answer) => resolve(answer as Found), fail: () => reject(new NetworkError()) });
    });
  }
}

const page = (ids: string[], next_cursor: string | null = null): Answer => ({ data: ids.map((id) => ({ id })), next_cursor });
const ids = (list: readonly { id: string }[]): string[] => list.map(({ id }) => id);

describe("a list that is read page by page", () => {
  it("shows what was asked for last, whichever answer comes last", async () => {
    const server = new Server();
    const list = new Paged(server, "/things");
    const first = list.load();
    const second = list.load();
    server.asked[1]?.answer(page(["new"]));
    await second;
    server.asked[0]?.answer(page(["old"], "more"));
    await first;
    expect(ids(list.list)).toEqual(["new"]);
    expect(list.hasMore).toBe(false);
  });

  it("takes no page of a reading that was given up", async () => {
    const server = new Server();
    const list = new Paged(server, "/things");
    const first = list.load();
    server.asked[0]?.answer(page(["a"], "more"));
    await first;
    const more = list.loadMore();
    const again = list.load();
    server.asked[2]?.answer(page(["b"]));
    await again;
    server.asked[1]?.answer(page(["c"]));
    await more;
    expect(ids(list.list)).toEqual(["b"]);
    expect(list.loadingMore).toBe(false);
  });

  it("keeps what is listed while it is read quietly, and says when that failed", async () => {
    const server = new Server();
    const list = new Paged(server, "/things");
    const first = list.load();
    server.asked[0]?.answer(page(["a"]));
    await first;
    const quietly = list.load({ quietly: true });
    expect(list.phase).toBe("ready");
    server.asked[1]?.fail();
    await quietly;
    expect([list.phase, ids(list.list)]).toEqual(["ready", ["a"]]);
    expect(list.problem).toContain("can't be reached");
  });
});

describe("what is read", () => {
  it("stays while something else is asked, and not when that fails", async () => {
    let fails = false;
    const resource = new Resource(() => (fails ? Promise.reject(new NetworkError()) : Promise.resolve(1)));
    await resource.load();
    fails = true;
    const other = resource.load({ meanwhile: true });
    expect([resource.phase, resource.reading]).toEqual(["ready", true]);
    await other;
    expect([resource.phase, resource.reading]).toEqual(["unreachable", false]);
  });

  it("stays when it is read again quietly and that fails, with the reason", async () => {
    let fails = false;
    const resource = new Resource(() => (fails ? Promise.reject(new NetworkError()) : Promise.resolve(1)));
    await resource.load();
    fails = true;
    await resource.load({ quietly: true });
    expect([resource.phase, resource.value]).toEqual(["ready", 1]);
    expect(resource.problem).toContain("can't be reached");
  });
});

describe("the list of rooms", () => {
  it("takes what is new without losing what is further down", async () => {
    const server = new Server();
    const rooms = new Rooms(server);
    const first = rooms.load();
    server.asked[0]?.answer(page(["b", "a"], "more"));
    await first;
    const more = rooms.loadMore();
    server.asked[1]?.answer(page(["older"]));
    await more;
    const refreshed = rooms.refresh();
    server.asked[2]?.answer(page(["c", "b"], "more"));
    await refreshed;
    expect(ids(rooms.list)).toEqual(["c", "b", "a", "older"]);
  });

  it("calls unread what others said, not every event", () => {
    const room = { head_seq: 9, seen_seq: 3 } as Room;
    expect([isUnread({ ...room, unread: 0 }), isUnread({ ...room, unread: 2 })]).toEqual([false, true]);
  });
});

describe("an invoice's days", () => {
  it("are those of its own time zone, wherever one reads it", () => {
    const invoice = { time_zone: "Pacific/Auckland", period_start: "2026-10-31T11:00:00Z", period_end: "2026-11-30T11:00:00Z" } as Invoice;
    expect(dayOf(invoice, "2026-11-30T12:00:00Z")).toMatch(/Dec/);
    expect(dayOf({ time_zone: "America/New_York" }, "2026-12-01T02:00:00Z")).toMatch(/Nov/);
    expect(periodOf(invoice)).toMatch(/1.*Nov.*30/);
  });
});
