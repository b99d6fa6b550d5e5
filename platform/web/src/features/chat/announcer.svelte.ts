const KEPT = 4;
const GATHERED_MS = 2_500;

/** What a screen reader hears of a room: finished paragraphs of an answer, gathered, never single tokens. */
export class Announcer {
  lines = $state.raw<{ id: number; text: string }[]>([]);
  #last = 0;
  #gathered = "";
  #timer: ReturnType<typeof setTimeout> | undefined;

  say(text: string): void {
    this.#gathered = `${this.#gathered} ${plain(text)}`.trim();
    this.#timer ??= setTimeout(() => this.flush(), GATHERED_MS);
  }

  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#gathered === "") return;
    this.#last += 1;
    this.lines = [...this.lines, { id: this.#last, text: this.#gathered }].slice(-KEPT);
    this.#gathered = "";
  }
}

/** Markdown without its marks, as far as listening needs it. */
function plain(markdown: string): string {
  return markdown
    .replace(/^\s*(?:```|~~~).*$/gm, "")
    .replace(/!?\[([^\]]*)\]\([^)]*\)/g, "$1")
    .replace(/[*_`#>|]+/g, "")
    .replace(/\s+/g, " ")
    .trim();
}
