import { getContext, setContext } from "svelte";
import type { ApiClient } from "$lib/api/client";
import type { Model, Room } from "$lib/api/types";
import { Permission, type PermissionName } from "$lib/permissions";
import { CloseCode, RealtimeClient, type ConnectionState, type Note } from "$lib/realtime";
import { LiveBalance } from "$features/billing/balance.svelte";
import { RoomState } from "$features/chat/state.svelte";
import { Unread } from "$features/notices/unread.svelte";
import { Rooms, isUnread } from "$features/rooms/state.svelte";

const KEY = Symbol("workspace");
/** Notes that say that the list of rooms is another one. */
const OF_ROOMS: ReadonlySet<string> = new Set(["invited", "mentioned", "unread"]);
const NOTES_GATHERED_MS = 300;

/** Who is signed in, as far as a workspace has to know. */
export interface Who {
  api: ApiClient;
  token(fresh: boolean): Promise<string>;
  membershipId: string;
  may(permission: PermissionName): boolean;
}

/** All that a signed-in person has open in one tenant; a new one is made for another. */
export class Workspace {
  readonly api: ApiClient;
  readonly membershipId: string;
  readonly rooms: Rooms;
  readonly balance: LiveBalance;
  readonly unread: Unread;
  models = $state.raw<Model[]>([]);
  modelsPhase = $state<"loading" | "ready" | "failed">("loading");
  connection = $state.raw<ConnectionState>({ phase: "idle" });
  room = $state.raw<RoomState | null>(null);
  readonly #client: RealtimeClient;
  readonly #may: Who["may"];
  #refreshing: ReturnType<typeof setTimeout> | undefined;
  readonly #nudge = (): void => {
    if (document.visibilityState !== "visible") return;
    this.#client.nudge();
    if (this.#may(Permission.readNotices)) void this.unread.load();
  };

  constructor({ api, token, membershipId, may }: Who) {
    this.api = api;
    this.#may = may;
    this.membershipId = membershipId;
    this.rooms = new Rooms(api);
    this.balance = new LiveBalance();
    this.unread = new Unread(api);
    this.#client = new RealtimeClient({
      url: `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`,
      token,
      loadSnapshot: async (room, url) => (await this.#state(room)?.loadSnapshot(url)) ?? null,
      sink: {
        onEvent: (event) => this.#state(event.room)?.apply(event),
        onText: (room, gid, kind, text) => {
          if (kind === "text") this.#state(room)?.append(gid, text);
        },
      },
      onNote: (note) => this.#told(note),
      onState: (state) => this.#connected(state),
    });
  }

  start(): void {
    this.#client.start();
    addEventListener("online", this.#nudge);
    document.addEventListener("visibilitychange", this.#nudge);
    if (this.#may(Permission.readRooms)) void this.rooms.load();
    if (this.#may(Permission.useModels)) void this.loadModels();
    if (this.#may(Permission.readNotices)) this.unread.start();
  }

  end(): void {
    removeEventListener("online", this.#nudge);
    document.removeEventListener("visibilitychange", this.#nudge);
    this.unread.stop();
    clearTimeout(this.#refreshing);
    this.#client.stop();
  }

  async loadModels(): Promise<void> {
    try {
      const offered = (await this.api.get<{ data: Model[] }>("/models")).data;
      // An alias like `claude-*` stands for many names; there is none to pick.
      this.models = offered.filter((model) => !model.alias.endsWith("*"));
      this.modelsPhase = "ready";
    } catch {
      this.modelsPhase = "failed";
    }
  }

  /** Opens a room, or none. The one that was open is no longer followed. */
  open(id: string | null): void {
    if (this.room?.id === id) return;
    if (this.room !== null) this.#client.unfollow(this.room.id);
    if (id === null) {
      this.room = null;
      return;
    }
    this.room = new RoomState(id, {
      api: this.api,
      client: this.#client,
      membershipId: this.membershipId,
      onRoom: (room) => this.#listed(room),
      onGone: (room) => this.rooms.drop(room),
    });
    void this.#client.follow(id);
    if (this.connection.phase === "online") this.room.outbox.retryWaiting();
  }

  /** Loads the open room again from nothing, after a failure. */
  reopen(): void {
    const id = this.room?.id ?? null;
    this.open(null);
    this.open(id);
  }

  /** Tells the server that everything in the open room has been read. */
  seen(): void {
    const state = this.room;
    if (!state?.room || document.visibilityState !== "visible") return;
    this.#client.seen(state.id);
    const listed = this.rooms.list.find((room) => room.id === state.id);
    if (listed && isUnread(listed)) this.rooms.put({ ...listed, unread: 0 });
  }

  reconnect(): void {
    this.#client.nudge();
    this.#client.start();
  }

  #state(room: string): RoomState | null {
    return this.room?.id === room ? this.room : null;
  }

  /** What is unread is the list's to know: an open room holds what it was when it was opened. */
  #listed(room: Room): void {
    const listed = this.rooms.list.find(({ id }) => id === room.id);
    this.rooms.put(listed ? { ...room, unread: listed.unread } : room);
  }

  #told(note: Note): void {
    this.balance.tell(note);
    if (!OF_ROOMS.has(note.type)) return;
    // After a while away there are many at once.
    clearTimeout(this.#refreshing);
    this.#refreshing = setTimeout(() => void this.rooms.refresh(), NOTES_GATHERED_MS);
  }

  #connected(state: ConnectionState): void {
    this.connection = state;
    if (state.phase === "online") this.room?.outbox.retryWaiting();
    if (state.phase === "stopped" && state.code === CloseCode.noSuchRoom) {
      this.room?.leave();
      this.#client.start();
    }
  }
}

export function provideWorkspace(workspace: Workspace): Workspace {
  return setContext(KEY, workspace);
}

export function useWorkspace(): Workspace {
  return getContext<Workspace>(KEY);
}
