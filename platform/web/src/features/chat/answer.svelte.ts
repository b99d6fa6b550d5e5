import type { Generation } from "$lib/api/types";
import { MarkdownStream, type LiveTail, type SealedBlock } from "$lib/markdown/stream";

/** An answer while it is written. Text is gathered as it comes and painted at most once a frame. */
export class LiveAnswer {
  generation = $state.raw<Generation>() as Generation;
  sealed = $state.raw<readonly SealedBlock[]>([]);
  tail = $state.raw<LiveTail>({ kind: "none" });
  stopping = $state(false);
  text = "";
  readonly #stream = new MarkdownStream();
  readonly #onsealed: (text: string) => void;
  #frame = 0;

  /** `onsealed` hears the source of each finished block, for those who listen rather than look. */
  constructor(generation: Generation, onsealed: (text: string) => void) {
    this.generation = generation;
    this.#onsealed = onsealed;
    if (generation.text) this.append(generation.text);
  }

  get started(): boolean {
    return this.sealed.length > 0 || this.tail.kind !== "none";
  }

  append(text: string): void {
    this.text += text;
    this.#stream.append(text);
    if (this.#frame === 0) this.#frame = requestAnimationFrame(() => this.#paint());
  }

  end(): void {
    cancelAnimationFrame(this.#frame);
  }

  #paint(): void {
    this.#frame = 0;
    const before = this.sealed.length;
    this.tail = this.#stream.advance();
    if (this.#stream.sealed.length === before) return;
    this.sealed = [...this.#stream.sealed];
    for (const block of this.sealed.slice(before)) this.#onsealed(block.source);
  }
}
