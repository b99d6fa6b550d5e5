import { recall, remember } from "$lib/storage";

/**
 * Text that isn't on the server yet, kept through reloads: what is being written, and what is being sent. It belongs to one
 * membership: whoever signs in at the same browser afterwards must neither see it nor send it.
 */
export interface KeptSend {
  cid: string;
  text: string;
  model: string | null;
  generate: boolean;
  atMs: number;
}

const KEPT_SENDS_MAX = 20;
const draftKey = (member: string, room: string): string => `parley.draft.${member}.${room}`;
const outboxKey = (member: string, room: string): string => `parley.draft.outbox.${member}.${room}`;
const modelKey = (room: string): string => `parley.model.${room}`;

export function recallDraft(member: string, room: string): string {
  return recall(draftKey(member, room)) ?? "";
}

export function rememberDraft(member: string, room: string, text: string): void {
  remember(draftKey(member, room), text === "" ? null : text);
}

export function recallSends(member: string, room: string): KeptSend[] {
  try {
    const kept: unknown = JSON.parse(recall(outboxKey(member, room)) ?? "[]");
    return Array.isArray(kept) ? kept.filter(isKeptSend).slice(-KEPT_SENDS_MAX) : [];
  } catch {
    return [];
  }
}

export function rememberSends(member: string, room: string, sends: KeptSend[]): void {
  remember(outboxKey(member, room), sends.length === 0 ? null : JSON.stringify(sends.slice(-KEPT_SENDS_MAX)));
}

/** The model last chosen in a room, or `PEOPLE_ONLY`. */
export function recallModel(room: string): string | null {
  return recall(modelKey(room));
}

export function rememberModel(room: string, model: string): void {
  remember(modelKey(room), model);
}

function isKeptSend(value: unknown): value is KeptSend {
  if (typeof value !== "object" || value === null) return false;
  const send = value as Partial<KeptSend>;
  return typeof send.cid === "string" && typeof send.text === "string" && typeof send.atMs === "number";
}
