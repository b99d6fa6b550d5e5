import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Backoff } from "$lib/realtime/backoff";
import { RealtimeClient, type ConnectionState, type RealtimeOptions } from "$lib/realtime/client";
import { COMMAND_DEADLINE_MS, CommandError } from "$lib/realtime/commands";
import { CloseCode, isRetried, parseFrame, type Hello } from "$lib/realtime/frames";
import { FakeSocket } from "./fake-socket";

const ROOM = "r1";
const GID = "g1";

interface Harness {
  client: RealtimeClient;
  events: string[];
  texts: Record<string, string>;
  states: ConnectionState[];
  tokens: boolean[];
  notes: number[];
  snapshot: ReturnType<typeof vi.fn<RealtimeOptions["loadSnapshot"]>>;
}

function harness(options: Partial<RealtimeOptions> = {}): Harness {
  const events: string[] = [];
  const texts: Record<string, string> = {};
  const states: ConnectionState[] = [];
  const tokens: boolean[] = [];
  const notes: number[] = [];
  const snapshot = vi.fn<RealtimeOptions["loadSnapshot"]>(() => Promise.resolve({ epoch: "e1", seq: 10, parts: {} }));
  const client = new RealtimeClient({
    url: "ws://parley.test/ws",
    token: (fresh) => {
      tokens.push(fresh);
      return Promise.resolve(`token-${tokens.length}`);
    },
    loadSnapshot: snapshot,
    sink: {
      onEvent: (event) => events.push(`${event.seq} ${event.type}`),
      onText: (_room, gid, _kind, text) => (texts[gid] = (texts[gid] ?? "") + text),
    },
    onNote: (note) => notes.push(note.seq),
    onState: (state) => states.push(state),
    random: () => 1,
    openSocket: (url, protocol) => new FakeSocket(url, protocol) as unknown as WebSocket,
    ...options,
  });
  return { client, events, texts, states, tokens, notes, snapshot };
}

const settle = (ms = 0): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);
const event = (seq: number, type: string, body: object = {}, epoch = "e1"): object => ({
  op: "ev", room: ROOM, epoch, seq, type, at: "2026-11-21T10:00:00Z", body,
});
const started = (seq: number): object => event(seq, "generation.started", { generation: { id: GID } });
const delta = (off: number, text: string): object => ({ op: "delta", room: ROOM, gid: GID, part: 0, kind: "text", off, text });

async function online(test: Harness, limits: object = {}): Promise<FakeSocket> {
  test.client.start();
  await settle();
  FakeSocket.last.welcome(limits);
  return FakeSocket.last;
}

/** Online, with the room attached, its snapshot at 10 loaded and an answer begun. */
async function answering(test: Harness): Promise<FakeSocket> {
  const socket = await online(test);
  const following = test.client.follow(ROOM);
  const [join] = socket.ops("cmd");
  socket.say({ op: "ack", cid: join?.op === "cmd" ? join.cid : "", seq: 10 });
  await following;
  socket.say(started(11));
  return socket;
}

beforeEach(() => {
  FakeSocket.all.length = 0;
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

describe("notes", () => {
  const note = (seq: number): object => ({ op: "note", seq, type: "invited", at: "2026-11-21T10:00:00Z", body: { room: "r" } });

  it("hands each on once, and names the last in the next hello", async () => {
    const test = harness();
    const socket = await online(test);
    socket.say(note(7), note(7), note(6), note(9), { op: "note", seq: "10", type: "balance", body: {} });
    expect(test.notes).toEqual([7, 9]);
    socket.cut(1006);
    await settle(1_000);
    FakeSocket.last.accept();
    expect(FakeSocket.last).not.toBe(socket);
    expect(FakeSocket.last.sent[0]).toMatchObject({ op: "hello", notes: 9 });
  });
});

describe("opening", () => {
  it("says hello with a token in the frame and never in the address", async () => {
    const socket = await online(harness());
    expect(socket.url).toBe("ws://parley.test/ws");
    expect(socket.protocol).toBe("parley.v1");
    expect(socket.sent[0]).toEqual({ op: "hello", v: 1, token: "token-1", resume: [], notes: 0 });
  });

  it("follows a room by joining first and loading its snapshot after", async () => {
    const test = harness();
    const socket = await online(test);
    void test.client.follow(ROOM);
    expect(socket.ops("cmd")).toMatchObject([{ type: "room.join", room: ROOM, body: {} }]);
    expect(test.snapshot).not.toHaveBeenCalled();
  });

  it("applies what arrived while the snapshot loaded, without what the snapshot holds", async () => {
    const test = harness();
    let loaded: (position: { epoch: string; seq: number; parts: Record<string, string[]> }) => void = () => undefined;
    test.snapshot.mockImplementation(() => new Promise((resolve) => (loaded = resolve)));
    const socket = await online(test);
    void test.client.follow(ROOM);
    const [join] = socket.ops("cmd");
    socket.say({ op: "ack", cid: join?.op === "cmd" ? join.cid : "" });
    await settle();
    socket.say(event(10, "message.created"), event(11, "message.created"), delta(0, "Hel"), delta(3, "lo!"));
    loaded({ epoch: "e1", seq: 10, parts: { [GID]: ["Hell"] } });
    await settle();
    expect(test.events).toEqual(["11 message.created"]);
    expect(test.texts[GID]).toBe("o!");
  });
});

describe("resume", () => {
  it("names the room's position and the code points held of each part", async () => {
    const test = harness();
    const socket = await answering(test);
    socket.say(delta(0, "a👩‍🚀é"));
    socket.cut(1006);
    await settle(500);
    FakeSocket.last.accept();
    const hello = FakeSocket.last.sent[0] as Hello;
    // a + woman + joiner + rocket + é: five code points, seven UTF-16 units.
    expect(hello.resume).toEqual([{ room: ROOM, epoch: "e1", seq: 11, gens: { [GID]: { 0: 5 } } }]);
  });

  it("drops overlap by offset, with astral and combining characters", async () => {
    const test = harness();
    const socket = await answering(test);
    socket.say(delta(0, "🎯🎯"), delta(1, "🎯e\u0301"), delta(0, "🎯🎯e\u0301"), delta(3, "\u0301x𝒳"));
    expect(test.texts[GID]).toBe("🎯🎯e\u0301x𝒳");
  });

  it("applies a replayed event once", async () => {
    const test = harness();
    const socket = await answering(test);
    socket.say(started(11), event(12, "message.created"), event(12, "message.created"));
    expect(test.events).toEqual(["11 generation.started", "12 message.created"]);
  });

  it.each([
    ["a durable event", event(13, "message.created")],
    ["a character", delta(5, "late")],
  ])("opens a new socket at the held position when %s is missing", async (_what, frame) => {
    const test = harness();
    const socket = await answering(test);
    socket.say(delta(0, "abc"), frame);
    expect(socket.closedWith).toBe(1000);
    await settle(500);
    FakeSocket.last.accept();
    expect(FakeSocket.all).toHaveLength(2);
    expect(FakeSocket.last.sent[0]).toMatchObject({ resume: [{ seq: 11, gens: { [GID]: { 0: 3 } } }] });
    expect(test.events).toEqual(["11 generation.started"]);
  });

  it("takes the epoch of a contiguous replay", async () => {
    const test = harness();
    const socket = await answering(test);
    socket.say(event(12, "message.created", {}, "e2"));
    socket.cut(1012);
    await settle(500);
    FakeSocket.last.accept();
    expect(FakeSocket.last.sent[0]).toMatchObject({ resume: [{ epoch: "e2", seq: 12 }] });
  });

  it("forgets a generation that has finished", async () => {
    const test = harness();
    const socket = await answering(test);
    socket.say(delta(0, "abc"), event(12, "generation.finished", { generation: { id: GID }, message: null }), delta(3, "d"));
    socket.cut(1006);
    await settle(500);
    FakeSocket.last.accept();
    expect(test.texts[GID]).toBe("abc");
    expect(FakeSocket.last.sent[0]).toMatchObject({ resume: [{ gens: {} }] });
  });

  it("loads the snapshot that a reset names and goes on from there", async () => {
    const test = harness();
    const socket = await answering(test);
    test.snapshot.mockResolvedValue({ epoch: "e2", seq: 40, parts: { [GID]: ["So far"] } });
    socket.say({ op: "reset", room: ROOM, reason: "epoch", snapshot: `/api/v1/rooms/${ROOM}/snapshot` }, delta(4, "arther"));
    await settle();
    expect(test.snapshot).toHaveBeenLastCalledWith(ROOM, `/api/v1/rooms/${ROOM}/snapshot`);
    socket.say(event(41, "message.created", {}, "e2"));
    expect(test.texts[GID]).toBe("ther");
    expect(test.events.at(-1)).toBe("41 message.created");
  });

  it("tries a failed snapshot again", async () => {
    const test = harness();
    test.snapshot.mockRejectedValueOnce(new Error("down"));
    void test.client.follow(ROOM);
    await settle(2_500);
    expect(test.snapshot).toHaveBeenCalledTimes(2);
  });
});

describe("commands", () => {
  it("goes out again under the same cid after a reconnect, and the first ack settles it", async () => {
    const test = harness();
    const socket = await online(test);
    const sending = test.client.command("message.send", ROOM, { text: "Hi" }, "cid-1");
    socket.cut(1006);
    await settle(500);
    FakeSocket.last.welcome();
    expect(FakeSocket.last).not.toBe(socket);
    expect(FakeSocket.last.ops("cmd")).toEqual(socket.ops("cmd"));
    FakeSocket.last.say({ op: "ack", cid: "cid-1", id: "m1", seq: 12 });
    await expect(sending).resolves.toMatchObject({ id: "m1" });
    FakeSocket.last.cut(1006);
    await settle(1_000);
    FakeSocket.last.welcome();
    expect(FakeSocket.last.ops("cmd")).toEqual([]);
  });

  it("waits for a connection, then keeps the order", async () => {
    const test = harness();
    void test.client.command("message.send", ROOM, { text: "one" });
    void test.client.command("message.send", ROOM, { text: "two" });
    const socket = await online(test);
    expect(socket.ops("cmd")).toMatchObject([{ body: { text: "one" } }, { body: { text: "two" } }]);
  });

  it("keeps to the server's limit of commands in flight", async () => {
    const test = harness();
    const socket = await online(test, { inflight: 1 });
    void test.client.command("message.send", ROOM, { text: "one" }, "c1");
    void test.client.command("message.send", ROOM, { text: "two" }, "c2");
    expect(socket.ops("cmd")).toHaveLength(1);
    socket.say({ op: "ack", cid: "c1" });
    expect(socket.ops("cmd")).toHaveLength(2);
  });

  it("obeys retry_ms, and gives up when refused too often", async () => {
    const test = harness();
    const socket = await online(test);
    const sending = test.client.command("message.send", ROOM, { text: "Hi" }, "c1");
    const refused = expect(sending).rejects.toMatchObject({ code: "rate_limited" });
    for (let round = 1; round <= 4; round += 1) {
      expect(socket.ops("cmd")).toHaveLength(round);
      socket.say({ op: "err", cid: "c1", code: "rate_limited", message: "Slow down", retry_ms: 200 });
      await settle(200);
    }
    await refused;
  });

  it("rejects a refusal without retry_ms at once and leaves the socket open", async () => {
    const test = harness();
    const socket = await online(test);
    const sending = test.client.command("message.send", ROOM, { text: "Hi" }, "c1");
    socket.say({ op: "err", cid: "c1", code: "payment_required", message: "No budget" });
    await expect(sending).rejects.toMatchObject({ code: "payment_required", unsure: false });
    expect(test.client.state.phase).toBe("online");
  });

  it("says that it can't be sure when nothing answers in time", async () => {
    const test = harness();
    const sending = test.client.command("message.send", ROOM, { text: "Hi" });
    const failed = expect(sending).rejects.toSatisfy((error) => error instanceof CommandError && error.unsure);
    await settle(COMMAND_DEADLINE_MS);
    await failed;
  });

  it("refuses a frame larger than the server takes", async () => {
    const test = harness();
    await online(test, { frame_bytes: 200 });
    const sending = test.client.command("message.send", ROOM, { text: "é".repeat(100) });
    await expect(sending).rejects.toMatchObject({ code: "payload_too_large" });
  });
});

describe("staying connected", () => {
  it("pings after 30 s of silence and drops the connection after 40 s", async () => {
    const test = harness();
    const socket = await online(test);
    await settle(30_000);
    expect(socket.ops("ping")).toHaveLength(1);
    await settle(10_000);
    expect(socket.closedWith).toBe(1000);
    expect(test.client.state.phase).toBe("waiting");
  });

  it("answers the server's ping", async () => {
    const socket = await online(harness());
    socket.say({ op: "ping", t: 7 });
    expect(socket.ops("pong")).toEqual([{ op: "pong", t: 7 }]);
  });

  it("sends a fresh token when the old one is expiring", async () => {
    const test = harness();
    const socket = await online(test);
    socket.say({ op: "expiring", in_s: 60 });
    await settle();
    expect(test.tokens).toEqual([false, true]);
    expect(socket.ops("auth")).toEqual([{ op: "auth", token: "token-2" }]);
  });

  it("connects at once with a fresh token after 4401, and backs off when that is refused too", async () => {
    const test = harness();
    const socket = await online(test);
    socket.cut(CloseCode.unauthenticated);
    await settle();
    expect(FakeSocket.all).toHaveLength(2);
    expect(test.tokens).toEqual([false, true]);
    FakeSocket.last.cut(CloseCode.unauthenticated);
    await settle();
    expect(test.client.state.phase).toBe("waiting");
  });

  it.each([4408, 4420, 4429, 4503, 1001, 1006, 1011, 1012])("comes back after %i", async (code) => {
    const test = harness();
    const socket = await online(test);
    socket.cut(code);
    expect(test.client.state.phase).toBe("waiting");
    await settle(500);
    expect(FakeSocket.all).toHaveLength(2);
  });

  it.each([4400, 4403, 4404, 4409, 4413])("stops after %i", async (code) => {
    const test = harness();
    const socket = await online(test);
    const sending = expect(test.client.command("message.send", ROOM, { text: "Hi" })).rejects.toThrow(CommandError);
    socket.cut(code);
    await settle(120_000);
    expect(test.client.state).toMatchObject({ phase: "stopped", code });
    expect(FakeSocket.all).toHaveLength(1);
    await sending;
    expect(isRetried(code)).toBe(false);
  });

  it("waits longer each time, up to 30 s, and starts over after a connection that lasts", async () => {
    const test = harness();
    await online(test);
    const waits: number[] = [];
    for (let round = 0; round < 8; round += 1) {
      FakeSocket.last.cut(1006);
      const { state } = test.client;
      const wait = state.phase === "waiting" ? state.retryAtMs - Date.now() : 0;
      waits.push(wait);
      await settle(wait);
    }
    expect(waits).toEqual([500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
    FakeSocket.last.welcome();
    await settle(6_000);
    FakeSocket.last.cut(1006);
    expect(test.client.state).toMatchObject({ phase: "waiting", retryAtMs: Date.now() + 500 });
  });

  it("draws each delay from the whole range below its ceiling", () => {
    const backoff = new Backoff(() => 0.25);
    expect([backoff.next(), backoff.next(), backoff.next()]).toEqual([125, 250, 500]);
  });

  it("ignores a socket it has let go of", async () => {
    const test = harness();
    const socket = await answering(test);
    test.client.stop();
    socket.say(event(12, "message.created"));
    socket.onclose?.({ code: 1006, reason: "" });
    await settle(60_000);
    expect(FakeSocket.all).toHaveLength(1);
    expect(test.events).toEqual(["11 generation.started"]);
  });
});

describe("frames", () => {
  it.each([
    "", "[]", "null", "{}", '{"op":"constructor"}', '{"op":"delta","room":"r"}', '{"op":"ev","room":"r","seq":-1,"type":"x","body":{}}', 7,
  ])("skips %j", (data) => {
    expect(parseFrame(data)).toBeNull();
  });
});
