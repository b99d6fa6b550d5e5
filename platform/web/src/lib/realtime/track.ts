import { codePointLength, dropCodePoints } from "./codepoints";
import type { Delta, Epoch, PartKind, PartOffsets, RoomEvent, RoomPosition } from "./frames";

/** What a loaded snapshot says about the position it was taken at. */
export interface SnapshotPosition {
  epoch: Epoch;
  seq: number;
  /** The texts held of the parts of each live generation, in their order. */
  parts: Record<string, string[]>;
}

export interface TrackSink {
  onEvent(event: RoomEvent): void;
  /** `text` continues exactly where the text before it ended. */
  onText(room: string, gid: string, kind: PartKind, text: string): void;
}

/** Frames kept while a snapshot loads; beyond that the room resumes from the snapshot instead. */
const HELD_FRAMES_MAX = 2_000;

export type TrackVerdict = "ok" | "gap";

/**
 * The position of one room: which durable events were applied, and how many code points are held of each part of each
 * live generation. It lets through every event and character once, in order, and tells when something is missing.
 */
export class RoomTrack {
  readonly room: string;
  readonly #sink: TrackSink;
  #epoch: Epoch | null = null;
  #seq: number | null = null;
  #offsets = new Map<string, Map<number, number>>();
  #held: (RoomEvent | Delta)[] | null = null;
  #overflowed = false;
  /** Counts loads of the snapshot: only the newest one places the track. */
  loads = 0;

  constructor(room: string, sink: TrackSink) {
    this.room = room;
    this.#sink = sink;
  }

  get positioned(): boolean {
    return this.#seq !== null;
  }

  get seq(): number {
    return this.#seq ?? 0;
  }

  position(): RoomPosition {
    const gens: Record<string, PartOffsets> = {};
    for (const [gid, parts] of this.#offsets) {
      gens[gid] = Object.fromEntries(parts);
    }
    return { room: this.room, epoch: this.#epoch, seq: this.#seq, gens };
  }

  /** Forgets the position; frames are held until `place` gives a new one. */
  lift(): void {
    this.#epoch = null;
    this.#seq = null;
    this.#offsets.clear();
    this.#held = [];
    this.#overflowed = false;
  }

  /** Takes the snapshot's position, then applies what arrived while it loaded. */
  place(snapshot: SnapshotPosition): TrackVerdict {
    this.#epoch = snapshot.epoch;
    this.#seq = snapshot.seq;
    this.#offsets.clear();
    for (const [gid, parts] of Object.entries(snapshot.parts)) {
      this.#offsets.set(gid, new Map(parts.map((text, part) => [part, codePointLength(text)])));
    }
    const held = this.#held ?? [];
    this.#held = null;
    let verdict: TrackVerdict = this.#overflowed ? "gap" : "ok";
    for (const frame of held) if (this.apply(frame) === "gap") verdict = "gap";
    return verdict;
  }

  apply(frame: RoomEvent | Delta): TrackVerdict {
    if (this.#held !== null) {
      if (this.#held.length < HELD_FRAMES_MAX) this.#held.push(frame);
      else this.#overflowed = true;
      return "ok";
    }
    if (this.#seq === null) return "ok";
    return frame.op === "ev" ? this.#applyEvent(frame, this.#seq) : this.#applyDelta(frame);
  }

  #applyEvent(event: RoomEvent, seq: number): TrackVerdict {
    if (event.seq <= seq) return "ok";
    if (event.seq > seq + 1) return "gap";
    this.#seq = event.seq;
    this.#epoch = event.epoch;
    if (event.type === "generation.started") {
      const gid = event.body.generation.id;
      if (!this.#offsets.has(gid)) this.#offsets.set(gid, new Map());
    } else if (event.type === "generation.finished") {
      this.#offsets.delete(event.body.generation.id);
    }
    this.#sink.onEvent(event);
    return "ok";
  }

  #applyDelta(delta: Delta): TrackVerdict {
    const parts = this.#offsets.get(delta.gid);
    // The generation has ended here, or its start is still to come as an event: the durable text follows either way.
    if (parts === undefined) return "ok";
    const held = parts.get(delta.part) ?? 0;
    if (delta.off > held) return "gap";
    const fresh = dropCodePoints(delta.text, held - delta.off);
    if (fresh === "") return "ok";
    parts.set(delta.part, held + codePointLength(fresh));
    this.#sink.onText(delta.room, delta.gid, delta.kind, fresh);
    return "ok";
  }
}
