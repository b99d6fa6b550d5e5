export { RealtimeClient, newCid, type ConnectionState } from "./client";
export { CommandError } from "./commands";
export { CloseCode, type Note, type RoomEvent } from "./frames";
export type { SnapshotPosition } from "./track";
