/**
 * The frames of Parley's WebSocket protocol, version 1. Every frame is one JSON object whose `op` names it.
 */
import type { GenerationFinished, GenerationStarted, MessageBody, RoomMember, Room } from "$lib/api/types";

export const SUBPROTOCOL = "parley.v1";
export const PROTOCOL_VERSION = 1;

export const CloseCode = {
  normal: 1000,
  resync: 3000,
  badFrame: 4400,
  unauthenticated: 4401,
  forbidden: 4403,
  noSuchRoom: 4404,
  timedOut: 4408,
  replaced: 4409,
  tooLarge: 4413,
  tooSlow: 4420,
  rateLimited: 4429,
  draining: 4503,
} as const;

const RETRIED_CLOSE_CODES: ReadonlySet<number> = new Set([
  CloseCode.unauthenticated,
  CloseCode.timedOut,
  CloseCode.tooSlow,
  CloseCode.rateLimited,
  CloseCode.draining,
]);

/** Whether to connect again after a close: the protocol's own codes by its list, every network close always. */
export function isRetried(code: number): boolean {
  return code < 4400 || code > 4599 || RETRIED_CLOSE_CODES.has(code);
}

/** Opaque to clients: compared for equality only. */
export type Epoch = string | number;

export type PartKind = "text" | "reasoning" | "tool_args";

/** Code points held of each part of a generation, by part number. */
export type PartOffsets = Record<string, number>;

export interface RoomPosition {
  room: string;
  epoch: Epoch | null;
  seq: number | null;
  gens: Record<string, PartOffsets>;
}

export interface Hello {
  op: "hello";
  v: typeof PROTOCOL_VERSION;
  token: string;
  resume: RoomPosition[];
  notes: number;
}

export type CommandType = "room.join" | "room.leave" | "message.send" | "generation.stop";

export interface CommandBodies {
  "room.join": Record<string, never>;
  "room.leave": Record<string, never>;
  "message.send": { text: string; model?: string; generate?: boolean };
  "generation.stop": { gid: string };
}

export type Command = {
  [Type in CommandType]: { op: "cmd"; cid: string; type: Type; room?: string; body: CommandBodies[Type] };
}[CommandType];

export type ClientFrame =
  | Hello
  | { op: "auth"; token: string }
  | Command
  | { op: "seen"; room: string; seq: number }
  | { op: "ping"; t: number }
  | { op: "pong"; t: number };

export interface Welcome {
  op: "welcome";
  sid: string;
  hb: number;
  limits: { frame_bytes?: number; inflight?: number; rooms?: number };
}

export interface Ack {
  op: "ack";
  cid: string;
  id?: string;
  seq?: number;
}

export interface CommandRefusal {
  op: "err";
  cid: string;
  code: string;
  message: string;
  retry_ms?: number;
}

interface EventOf<Type extends string, Body> {
  op: "ev";
  room: string;
  epoch: Epoch;
  seq: number;
  at: string;
  type: Type;
  body: Body;
}

export type RoomEvent =
  | EventOf<"message.created" | "message.edited" | "message.deleted", MessageBody>
  | EventOf<"generation.started", GenerationStarted>
  | EventOf<"generation.finished", GenerationFinished>
  | EventOf<"room.updated", { room: Room }>
  | EventOf<"member.joined" | "member.left", { member: RoomMember }>;

export interface Delta {
  op: "delta";
  room: string;
  gid: string;
  part: number;
  kind: PartKind;
  off: number;
  text: string;
}

/** Something that concerns the member, not a room. The newest `balance` replaces those before. */
export interface Note {
  op: "note";
  seq: number;
  at: string;
  type: string;
  body: Record<string, unknown>;
}

export interface Reset {
  op: "reset";
  room: string;
  reason: string;
  snapshot: string;
}

export type ServerFrame =
  | Welcome
  | { op: "expiring"; in_s: number }
  | Ack
  | CommandRefusal
  | RoomEvent
  | Delta
  | Note
  | Reset
  | { op: "ping"; t: number }
  | { op: "pong"; t: number };

type Checks = Record<string, (frame: Record<string, unknown>) => boolean>;

const text = (value: unknown): boolean => typeof value === "string";
const count = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
const record = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const CHECKS: Checks = {
  welcome: (frame) => typeof frame["hb"] === "number" && record(frame["limits"]),
  expiring: () => true,
  ack: (frame) => text(frame["cid"]),
  err: (frame) => text(frame["cid"]) && text(frame["code"]),
  ev: (frame) => text(frame["room"]) && count(frame["seq"]) && text(frame["type"]) && record(frame["body"]),
  delta: (frame) => text(frame["room"]) && text(frame["gid"]) && count(frame["off"]) && text(frame["text"]),
  note: (frame) => count(frame["seq"]) && text(frame["type"]) && record(frame["body"]),
  reset: (frame) => text(frame["room"]),
  ping: () => true,
  pong: () => true,
};

/**
 * Reads one frame. Answers null for a frame this client doesn't use (`presence`, `typing`, or one of a later
 * version), and for one that is malformed: a client skips what it can't read, the server's sequences show the gap.
 */
export function parseFrame(data: unknown): ServerFrame | null {
  if (typeof data !== "string") return null;
  let frame: unknown;
  try {
    frame = JSON.parse(data);
  } catch {
    return null;
  }
  if (!record(frame) || typeof frame["op"] !== "string") return null;
  const check = Object.hasOwn(CHECKS, frame["op"]) ? CHECKS[frame["op"]] : undefined;
  return check?.(frame) ? (frame as unknown as ServerFrame) : null;
}
