/**
 * The reference client of Parley's WebSocket protocol, version 1. It keeps one socket, follows any number of rooms over
 * reconnects, and hands every durable event and every character of an answer on exactly once and in order.
 */
import { Backoff } from "./backoff";
import { CommandQueue } from "./commands";
import {
  CloseCode,
  PROTOCOL_VERSION,
  SUBPROTOCOL,
  isRetried,
  parseFrame,
  type Ack,
  type ClientFrame,
  type CommandBodies,
  type CommandType,
  type Note,
  type Reset,
  type ServerFrame,
  type Welcome,
} from "./frames";
import { Heartbeat } from "./heartbeat";
import { RoomTrack, type SnapshotPosition, type TrackSink } from "./track";

export type ConnectionState =
  | { phase: "idle" }
  | { phase: "connecting"; attempt: number }
  | { phase: "online" }
  | { phase: "waiting"; attempt: number; retryAtMs: number }
  | { phase: "stopped"; code: number; reason: string };

export interface RealtimeOptions {
  url: string;
  /** An access token; with `fresh`, one newer than the last that was refused. Rejects when the person must sign in. */
  token(fresh: boolean): Promise<string>;
  /** Loads a room's state over REST and shows it; answers null when the room can't be read any more. */
  loadSnapshot(room: string, url: string | null): Promise<SnapshotPosition | null>;
  sink: TrackSink;
  /** Something that concerns the member, not a room: each once, in order. */
  onNote(note: Note): void;
  onState(state: ConnectionState): void;
  random?: () => number;
  openSocket?: (url: string, protocol: string) => WebSocket;
}

const CONNECT_TIMEOUT_MS = 15_000;
const SNAPSHOT_RETRY_MS = 2_000;
const HELLO_WAITS_MS = 1_500;

export class RealtimeClient {
  readonly #options: RealtimeOptions;
  readonly #backoff: Backoff;
  readonly #commands: CommandQueue;
  readonly #tracks = new Map<string, RoomTrack>();
  readonly #loading = new Set<Promise<unknown>>();
  #state: ConnectionState = { phase: "idle" };
  #socket: WebSocket | null = null;
  #heartbeat: Heartbeat | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #attempt = 0;
  #tokenRefused = false;
  /** The number of the last note. */
  #noted = 0;

  constructor(options: RealtimeOptions) {
    this.#options = options;
    this.#backoff = new Backoff(options.random);
    this.#commands = new CommandQueue((frame) => this.#send(frame));
  }

  get state(): ConnectionState {
    return this.#state;
  }

  start(): void {
    if (this.#state.phase === "idle" || this.#state.phase === "stopped") void this.#connect();
  }

  /** Connects at once if it was waiting, and checks that an open connection is alive (network or machine came back). */
  nudge(): void {
    if (this.#state.phase === "waiting") void this.#connect();
    else this.#heartbeat?.check();
  }

  stop(): void {
    this.#drop();
    this.#commands.abandon(CloseCode.normal);
    this.#tracks.clear();
    this.#enter({ phase: "idle" });
  }

  /** Begins to follow a room: attach first, then load the snapshot, so that nothing falls between the two. */
  async follow(room: string): Promise<void> {
    if (this.#tracks.has(room)) return;
    const track = new RoomTrack(room, this.#options.sink);
    this.#tracks.set(room, track);
    track.lift();
    if (this.#state.phase === "online") {
      // A refusal shows again, with its reason, when the snapshot is loaded.
      await this.command("room.join", room, {}).catch(() => undefined);
    }
    await this.#load(track, null);
  }

  unfollow(room: string): void {
    if (!this.#tracks.delete(room) || this.#state.phase !== "online") return;
    void this.command("room.leave", room, {}).catch(() => undefined);
  }

  /** Sends a command and answers its ack; it survives reconnects. Retry a failed one with the same `cid`. */
  command<Type extends CommandType>(
    type: Type,
    room: string | undefined,
    body: CommandBodies[Type],
    cid: string = newCid(),
  ): Promise<Ack> {
    return this.#commands.send(cid, type, room, body);
  }

  /** Tells how far the person has read. Not a command: the next one says it better. */
  seen(room: string): void {
    const track = this.#tracks.get(room);
    if (track?.positioned && this.#state.phase === "online") this.#send({ op: "seen", room, seq: track.seq });
  }

  async #connect(): Promise<void> {
    this.#drop();
    this.#attempt += 1;
    const attempt = this.#attempt;
    this.#enter({ phase: "connecting", attempt });
    let token: string;
    try {
      token = await this.#options.token(this.#tokenRefused);
    } catch {
      if (attempt === this.#attempt && this.#state.phase === "connecting") this.#retryLater();
      return;
    }
    if (attempt !== this.#attempt || this.#state.phase !== "connecting") return;
    this.#open(token);
  }

  #open(token: string): void {
    const open = this.#options.openSocket ?? ((url: string, protocol: string) => new WebSocket(url, protocol));
    const socket = open(this.#options.url, SUBPROTOCOL);
    this.#socket = socket;
    this.#timer = setTimeout(() => this.#lose(socket, CloseCode.timedOut, ""), CONNECT_TIMEOUT_MS);
    socket.onopen = () => {
      if (this.#loading.size === 0) this.#hello(socket, token);
      else void this.#loaded().then(() => this.#hello(socket, token));
    };
    socket.onmessage = (message: MessageEvent<unknown>) => {
      if (socket !== this.#socket) return;
      this.#heartbeat?.heard();
      const frame = parseFrame(message.data);
      if (frame !== null) this.#receive(frame);
    };
    socket.onclose = (closed) => this.#lose(socket, closed.code, closed.reason);
  }

  #hello(socket: WebSocket, token: string): void {
    if (socket !== this.#socket) return;
    const resume = [...this.#tracks.values()].map((track) => track.position());
    this.#send({ op: "hello", v: PROTOCOL_VERSION, token, resume, notes: this.#noted });
  }

  /** Snapshots under way give the hello its positions, and spare loading them again: it waits for them, not long. */
  #loaded(): Promise<unknown> {
    return Promise.race([
      Promise.allSettled(this.#loading),
      new Promise((resolve) => setTimeout(resolve, HELLO_WAITS_MS)),
    ]);
  }

  #receive(frame: ServerFrame): void {
    switch (frame.op) {
      case "welcome":
        return this.#welcome(frame);
      case "ev":
      case "delta":
        if (this.#tracks.get(frame.room)?.apply(frame) === "gap") this.#resync();
        return;
      case "note":
        // A balance says all by itself, under the number of the note before it.
        if (frame.type !== "balance" && frame.seq <= this.#noted) return;
        this.#noted = Math.max(this.#noted, frame.seq);
        return this.#options.onNote(frame);
      case "reset":
        return this.#reset(frame);
      case "ack":
        return this.#commands.acknowledge(frame);
      case "err":
        return this.#commands.refuse(frame);
      case "expiring":
        void this.#reauthenticate();
        return;
      case "ping":
        return this.#send({ op: "pong", t: frame.t });
      case "pong":
        return;
    }
  }

  #welcome(frame: Welcome): void {
    clearTimeout(this.#timer);
    this.#tokenRefused = false;
    this.#heartbeat = new Heartbeat(frame.hb, {
      ping: () => this.#send({ op: "ping", t: Date.now() }),
      dead: () => this.#lose(this.#socket, CloseCode.timedOut, ""),
    });
    this.#enter({ phase: "online" });
    this.#attempt = 0;
    // A connection proves itself by lasting: one that is cut right after its welcome keeps backing off.
    this.#timer = setTimeout(() => this.#backoff.reset(), 5_000);
    this.#commands.open(frame.limits);
  }

  async #reauthenticate(): Promise<void> {
    const socket = this.#socket;
    try {
      const token = await this.#options.token(true);
      if (socket === this.#socket) this.#send({ op: "auth", token });
    } catch {
      // Without a new token the server closes with 4401, and the way back starts there.
    }
  }

  #reset(frame: Reset): void {
    const track = this.#tracks.get(frame.room);
    if (track === undefined) return;
    track.lift();
    void this.#load(track, frame.snapshot);
  }

  #load(track: RoomTrack, url: string | null): Promise<void> {
    const load = this.#loadOnce(track, url).finally(() => this.#loading.delete(load));
    this.#loading.add(load);
    return load;
  }

  async #loadOnce(track: RoomTrack, url: string | null): Promise<void> {
    track.loads += 1;
    const load = track.loads;
    const current = (): boolean => this.#tracks.get(track.room) === track && track.loads === load;
    let position: SnapshotPosition | null;
    try {
      position = await this.#options.loadSnapshot(track.room, url);
    } catch {
      setTimeout(() => {
        if (current()) void this.#load(track, url);
      }, SNAPSHOT_RETRY_MS);
      return;
    }
    if (!current()) return;
    if (position === null) this.#tracks.delete(track.room);
    else if (track.place(position) === "gap") this.#resync();
  }

  /** Something is missing: open a new socket, whose hello names the positions held, and let the server fill them. */
  #resync(): void {
    if (this.#state.phase === "online") this.#lose(this.#socket, CloseCode.resync, "resync");
  }

  #lose(socket: WebSocket | null, code: number, reason: string): void {
    if (socket === null || socket !== this.#socket) return;
    this.#drop();
    if (!isRetried(code)) {
      this.#commands.abandon(code);
      this.#enter({ phase: "stopped", code, reason });
      return;
    }
    if (code === CloseCode.unauthenticated && !this.#tokenRefused) {
      this.#tokenRefused = true;
      void this.#connect();
    } else {
      this.#retryLater();
    }
  }

  #retryLater(): void {
    const delayMs = this.#backoff.next();
    this.#enter({ phase: "waiting", attempt: this.#attempt, retryAtMs: Date.now() + delayMs });
    this.#timer = setTimeout(() => void this.#connect(), delayMs);
  }

  /** Lets go of the socket, whatever its state; its later events are ignored. */
  #drop(): void {
    clearTimeout(this.#timer);
    this.#heartbeat?.stop();
    this.#heartbeat = null;
    this.#commands.close();
    const socket = this.#socket;
    this.#socket = null;
    if (socket !== null && socket.readyState <= WebSocket.OPEN) socket.close(CloseCode.normal);
  }

  #send(frame: ClientFrame): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(frame));
  }

  #enter(state: ConnectionState): void {
    this.#state = state;
    this.#options.onState(state);
  }
}

/** A command id: 128 random bits. (`crypto.randomUUID` is missing on plain HTTP, `getRandomValues` is not.) */
export function newCid(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
