import type { ApiClient } from "$lib/api/client";
import { kindOf, type FailureKind } from "$lib/api/errors";
import type { Generation, Member, Message, Page, Room, RoomMember, Snapshot } from "$lib/api/types";
import type { RealtimeClient, RoomEvent, SnapshotPosition } from "$lib/realtime";
import { Announcer } from "./announcer.svelte";
import { LiveAnswer } from "./answer.svelte";
import { Outbox } from "./outbox.svelte";

const OLDER_PAGE = 100;

export interface RoomContext {
  api: ApiClient;
  client: RealtimeClient;
  membershipId: string;
  onRoom(room: Room): void;
  onGone(room: string): void;
}

/** One open room: its messages, the answers being written, and what is on its way. */
export class RoomState {
  readonly id: string;
  phase = $state<"loading" | "ready" | FailureKind>("loading");
  room = $state.raw<Room | null>(null);
  members = $state.raw<RoomMember[]>([]);
  messages = $state.raw<Message[]>([]);
  live = $state.raw<LiveAnswer[]>([]);
  /** Ended without any text, so without a message: by the prompt they followed. */
  unanswered = $state.raw<Generation[]>([]);
  hasMore = $state(false);
  loadingOlder = $state(false);
  readonly announcer = new Announcer();
  readonly outbox: Outbox;
  readonly #context: RoomContext;
  #olderCursor: string | null = null;

  constructor(id: string, context: RoomContext) {
    this.id = id;
    this.#context = context;
    this.outbox = new Outbox(context.membershipId, id, context.client);
    this.outbox.onacknowledged = (cid, messageId) => {
      if (this.messages.some((message) => message.id === messageId)) this.outbox.discard(cid);
    };
  }

  get isOwner(): boolean {
    return this.room?.role === "owner";
  }

  isMine(message: Message): boolean {
    return message.author.kind === "member" && message.author.id === this.#context.membershipId;
  }

  /** Loads and shows the room's state; answers its position, or null when the room can't be read. */
  async loadSnapshot(url: string | null): Promise<SnapshotPosition | null> {
    try {
      const snapshot = await this.#context.api.get<Snapshot>(url ?? `/rooms/${this.id}/snapshot`);
      this.#show(snapshot);
      const parts = snapshot.generations.filter(isLive).map(({ id, parts = [] }) => [id, parts.map(({ text }) => text)]);
      return { epoch: snapshot.epoch, seq: snapshot.seq, parts: Object.fromEntries(parts) };
    } catch (error) {
      const kind = kindOf(error);
      if (this.room === null || kind === "not_found" || kind === "forbidden") this.phase = kind;
      if (kind === "not_found" || kind === "forbidden") {
        this.#context.onGone(this.id);
        return null;
      }
      throw error;
    }
  }

  apply(event: RoomEvent): void {
    switch (event.type) {
      case "message.created":
        return this.#add(event.body.message);
      case "message.edited":
      case "message.deleted":
        return this.#change(event.body.message);
      case "generation.started":
        return this.#start(event.body.generation);
      case "generation.finished":
        return this.#finish(event.body.generation, event.body.message);
      case "room.updated":
        return this.#update(event.body.room);
      case "member.joined":
        this.members = [...this.members.filter(({ id }) => id !== event.body.member.id), event.body.member];
        return;
      case "member.left":
        this.members = this.members.filter(({ id }) => id !== event.body.member.id);
        if (event.body.member.member.id === this.#context.membershipId) this.leave();
        return;
    }
  }

  append(gid: string, text: string): void {
    this.live.find((answer) => answer.generation.id === gid)?.append(text);
  }

  /** The room was deleted, or this member taken out of it. */
  leave(): void {
    this.phase = "not_found";
    this.#context.client.unfollow(this.id);
    this.#context.onGone(this.id);
  }

  async stop(answer: LiveAnswer): Promise<void> {
    answer.stopping = true;
    try {
      await this.#context.client.command("generation.stop", this.id, { gid: answer.generation.id });
    } catch (error) {
      answer.stopping = false;
      throw error;
    }
  }

  async loadOlder(): Promise<void> {
    if (this.loadingOlder || !this.hasMore) return;
    this.loadingOlder = true;
    try {
      const known = new Set(this.messages.map((message) => message.id));
      let fresh: Message[] = [];
      // The first page, asked for without a cursor, may hold only what the snapshot held.
      for (let pages = 0; pages < 2 && fresh.length === 0 && this.hasMore; pages += 1) {
        const query = { limit: OLDER_PAGE, cursor: this.#olderCursor };
        const page = await this.#context.api.get<Page<Message>>(`/rooms/${this.id}/messages`, query);
        fresh = page.data.filter((message) => !known.has(message.id));
        this.#olderCursor = page.next_cursor;
        this.hasMore = page.next_cursor !== null;
      }
      this.messages = [...fresh.reverse(), ...this.messages];
    } finally {
      this.loadingOlder = false;
    }
  }

  async addMember(member: Member): Promise<void> {
    const added = await this.#context.api.post<RoomMember>(`/rooms/${this.id}/members`, { member: member.id });
    this.members = [...this.members.filter(({ id }) => id !== added.id), added];
  }

  async removeMember(member: RoomMember): Promise<void> {
    await this.#context.api.delete(`/rooms/${this.id}/members/${member.id}`);
    this.members = this.members.filter(({ id }) => id !== member.id);
  }

  #show(snapshot: Snapshot): void {
    for (const answer of this.live) answer.end();
    this.room = snapshot.room;
    this.members = snapshot.members;
    this.messages = snapshot.messages;
    this.hasMore = snapshot.has_more;
    this.#olderCursor = null;
    this.live = snapshot.generations.filter(isLive).map((generation) => this.#answer(generation));
    this.unanswered = snapshot.generations.filter((generation) => !isLive(generation));
    this.phase = "ready";
    for (const message of snapshot.messages) this.outbox.arrived(message, false);
    this.#context.onRoom(snapshot.room);
  }

  #add(message: Message): void {
    if (this.messages.some(({ id }) => id === message.id)) return;
    this.messages = [...this.messages, message];
    this.outbox.arrived(message, this.isMine(message));
    if (this.room === null) return;
    this.room = { ...this.room, last_message_at: message.created_at };
    this.#context.onRoom(this.room);
  }

  #change(message: Message): void {
    this.messages = this.messages.map((known) => (known.id === message.id ? message : known));
  }

  #start(generation: Generation): void {
    if (this.live.some((answer) => answer.generation.id === generation.id)) return;
    this.live = [...this.live, this.#answer({ ...generation, text: null })];
    this.announcer.say("The model is answering.");
  }

  #finish(generation: Generation, message: Message | null): void {
    this.live.find((answer) => answer.generation.id === generation.id)?.end();
    this.live = this.live.filter((answer) => answer.generation.id !== generation.id);
    if (message !== null) this.#add(message);
    else this.unanswered = [...this.unanswered.filter(({ id }) => id !== generation.id), generation];
    this.announcer.say(ENDINGS[generation.status] ?? "");
    this.announcer.flush();
  }

  #update(room: Room): void {
    if (this.room === null) return;
    const { title, model, instructions, kind, updated_at } = room;
    this.room = { ...this.room, title, model, instructions, kind, updated_at };
    this.#context.onRoom(this.room);
  }

  #answer(generation: Generation): LiveAnswer {
    return new LiveAnswer(generation, (text) => this.announcer.say(text));
  }
}

function isLive(generation: Generation): boolean {
  return generation.finished_at === null;
}

const ENDINGS: Partial<Record<Generation["status"], string>> = {
  complete: "The answer is complete.",
  stopped: "The answer was stopped.",
  failed: "The answer failed.",
  interrupted: "The answer was interrupted.",
};
