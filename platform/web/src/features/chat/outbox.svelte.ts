import { CommandError, newCid, type RealtimeClient } from "$lib/realtime";
import type { Message } from "$lib/api/types";
import { recallSends, rememberSends, type KeptSend } from "./drafts";

export interface Outgoing extends KeptSend {
  status: "sending" | "failed";
  problem: string | null;
  /** The message's id once the server has it; it leaves the list when the message itself arrives. */
  id: string | null;
  /** Failed for want of a connection: it goes out by itself when there is one. */
  waits: boolean;
}

/** After a reload, younger sends go out again by themselves; older ones wait for the person. */
const RESENT_WITHIN_MS = 600_000;

/** Messages on their way to the server. A `cid` stays with its text, so that no retry can post it twice. */
export class Outbox {
  list = $state.raw<Outgoing[]>([]);
  readonly #member: string;
  readonly #room: string;
  readonly #client: RealtimeClient;

  constructor(member: string, room: string, client: RealtimeClient) {
    this.#member = member;
    this.#room = room;
    this.#client = client;
    this.list = recallSends(member, room).map((kept) => ({
      ...kept,
      status: "failed",
      problem: "This message wasn’t sent yet.",
      id: null,
      waits: Date.now() - kept.atMs < RESENT_WITHIN_MS,
    }));
  }

  send(text: string, model: string | null, generate: boolean): void {
    const atMs = Date.now();
    const entry: Outgoing = { cid: newCid(), text, model, generate, atMs, status: "sending", problem: null, id: null, waits: false };
    this.#set([...this.list, entry]);
    void this.#transmit(entry);
  }

  retry(cid: string): void {
    const entry = this.list.find((outgoing) => outgoing.cid === cid);
    if (entry === undefined || entry.status === "sending") return;
    this.#change(cid, { status: "sending", problem: null, waits: false });
    void this.#transmit(entry);
  }

  /** Sends again what failed only because there was no connection. */
  retryWaiting(): void {
    for (const entry of this.list) if (entry.waits) this.retry(entry.cid);
  }

  /** Takes a failed message out and answers its text. */
  discard(cid: string): string {
    const text = this.list.find((outgoing) => outgoing.cid === cid)?.text ?? "";
    this.#set(this.list.filter((outgoing) => outgoing.cid !== cid));
    return text;
  }

  /** The message is in the room: by its id, or, before the ack is here, by its text. */
  arrived(message: Message, mine: boolean): void {
    const match =
      this.list.find((outgoing) => outgoing.id === message.id) ??
      (mine ? this.list.find((outgoing) => outgoing.status === "sending" && outgoing.text === message.text) : undefined);
    if (match !== undefined) this.#set(this.list.filter((outgoing) => outgoing !== match));
  }

  async #transmit(entry: Outgoing): Promise<void> {
    const body = { text: entry.text, ...(entry.model ? { model: entry.model } : {}), generate: entry.generate };
    try {
      const ack = await this.#client.command("message.send", this.#room, body, entry.cid);
      this.#change(entry.cid, { id: ack.id ?? null });
      this.onacknowledged?.(entry.cid, ack.id ?? null);
    } catch (error) {
      const waits = error instanceof CommandError && error.unsure && error.code !== "superseded";
      if (error instanceof CommandError && error.code === "superseded") return;
      const problem = error instanceof Error ? error.message : "The message wasn’t sent.";
      this.#change(entry.cid, { status: "failed", problem, waits });
    }
  }

  /** Told of each ack, so that a message that is already in the room leaves the list. */
  onacknowledged: ((cid: string, id: string | null) => void) | null = null;

  #change(cid: string, changes: Partial<Outgoing>): void {
    this.#set(this.list.map((entry) => (entry.cid === cid ? { ...entry, ...changes } : entry)));
  }

  #set(list: Outgoing[]): void {
    this.list = list;
    rememberSends(
      this.#member,
      this.#room,
      list.map(({ cid, text, model, generate, atMs }) => ({ cid, text, model, generate, atMs })),
    );
  }
}
