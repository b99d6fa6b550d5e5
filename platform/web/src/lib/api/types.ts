/** The API's shapes, by the names the app uses. Everything here comes from the generated schema. */
import type { components } from "./schema";

type Schemas = components["schemas"];

export type ErrorEnvelope = Schemas["Error"];
export type Session = Schemas["Session"];
export type Person = Schemas["Person"];
export type Tenant = Schemas["Tenant"];
export type MembershipSummary = Schemas["MembershipSummary"];
export type Me = Schemas["Me"];
export type Member = Schemas["Member"];
export type Role = Schemas["Role"];
export type ApiKey = Schemas["ApiKey"];
export type ApiKeySecret = Schemas["ApiKeySecret"];
export type Model = Schemas["Model"];
export type UsageRecord = Schemas["UsageRecord"];
export type Usage = Schemas["Usage"];
export type Room = Schemas["Room"];
export type RoomKind = Room["kind"];
export type RoomMember = Schemas["RoomMember"];
export type Message = Schemas["Message"];
export type Generation = Schemas["Generation"];
export type Snapshot = Schemas["Snapshot"];

export interface Page<Item> {
  data: Item[];
  next_cursor: string | null;
}

export interface MessageCreated {
  message: Message;
}

export interface GenerationStarted {
  generation: Generation;
}

export interface GenerationFinished {
  generation: Generation;
  message: Message | null;
}
