import type { ApiClient } from "$lib/api/client";
import type { Page, Room, RoomKind } from "$lib/api/types";

const PAGE_SIZE = 50;

export interface NewRoom {
  title: string;
  kind: RoomKind;
  model?: string | null;
  instructions?: string;
}

/** The rooms a person belongs to, as the list at the side shows them. */
export class Rooms {
  list = $state.raw<Room[]>([]);
  phase = $state<"loading" | "ready" | "failed">("loading");
  filter = $state("");
  loadingMore = $state(false);
  #cursor = $state<string | null>(null);
  readonly #api: ApiClient;

  readonly shown = $derived.by(() => {
    const wanted = this.filter.trim().toLocaleLowerCase();
    const rooms = [...this.list].sort((one, other) => activity(other).localeCompare(activity(one)));
    return wanted === "" ? rooms : rooms.filter((room) => titleOf(room).toLocaleLowerCase().includes(wanted));
  });

  constructor(api: ApiClient) {
    this.#api = api;
  }

  get hasMore(): boolean {
    return this.#cursor !== null;
  }

  /** Loads the first page; rooms already listed stay until it is here. */
  async load(): Promise<void> {
    if (this.list.length === 0) this.phase = "loading";
    try {
      const page = await this.#page(null);
      this.list = page.data;
      this.#cursor = page.next_cursor;
      this.phase = "ready";
    } catch {
      if (this.list.length === 0) this.phase = "failed";
    }
  }

  /** Reads the newest again: rooms that are new here, and what is unread. Those further down stay, and all of them when that fails. */
  async refresh(): Promise<void> {
    if (this.phase !== "ready") return;
    try {
      const page = await this.#page(null);
      const fresh = new Set(page.data.map((room) => room.id));
      this.list = page.next_cursor === null ? page.data : [...page.data, ...this.list.filter((room) => !fresh.has(room.id))];
    } catch {
      // The next note, or the next visit, brings it.
    }
  }

  /** Raises what went wrong. */
  async loadMore(): Promise<void> {
    if (this.loadingMore || this.#cursor === null) return;
    this.loadingMore = true;
    try {
      const page = await this.#page(this.#cursor);
      const known = new Set(this.list.map((room) => room.id));
      this.list = [...this.list, ...page.data.filter((room) => !known.has(room.id))];
      this.#cursor = page.next_cursor;
    } finally {
      this.loadingMore = false;
    }
  }

  async create(room: NewRoom): Promise<Room> {
    const created = await this.#api.post<Room>("/rooms", room);
    this.put(created);
    return created;
  }

  async update(id: string, changes: Partial<NewRoom>): Promise<Room> {
    const room = await this.#api.patch<Room>(`/rooms/${id}`, changes);
    this.put(room);
    return room;
  }

  async delete(id: string): Promise<void> {
    await this.#api.delete(`/rooms/${id}`);
    this.drop(id);
  }

  put(room: Room): void {
    const known = this.list.some((listed) => listed.id === room.id);
    this.list = known ? this.list.map((listed) => (listed.id === room.id ? room : listed)) : [room, ...this.list];
  }

  drop(id: string): void {
    this.list = this.list.filter((room) => room.id !== id);
  }

  #page(cursor: string | null): Promise<Page<Room>> {
    return this.#api.get<Page<Room>>("/rooms", { limit: PAGE_SIZE, cursor });
  }
}

function activity(room: Room): string {
  return room.last_message_at ?? room.created_at;
}

/** Whether something was said in a room that this member hasn't seen. */
export function isUnread(room: Room): boolean {
  return (room.unread ?? 0) > 0;
}

export function titleOf(room: Pick<Room, "title">): string {
  return room.title.trim() || "Untitled room";
}
