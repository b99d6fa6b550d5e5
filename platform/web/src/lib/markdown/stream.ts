import { Lexer, type Token, type TokensList } from "marked";
import { markdown } from "./render";
import { sanitize } from "./sanitize";

/** A finished block: parsed, sanitised and put into the page once. */
export interface SealedBlock {
  id: number;
  html: string;
  /** The markdown it came from. */
  source: string;
}

/** The unfinished end: an open code fence, whose text only grows, or anything else, parsed again with each change. */
export type LiveTail = { kind: "none" } | { kind: "html"; html: string } | { kind: "code"; language: string; code: string };

const OPEN_FENCE = /^ {0,3}(`{3,}|~{3,})[^\S\n]*([^\s`]*)[^\n]*\n/;

/**
 * Renders markdown while it arrives, at a cost that depends on the unfinished block and not on the answer's length. The
 * text splits into a sealed prefix of top-level blocks, which nothing that follows can change, and a live tail.
 */
export class MarkdownStream {
  readonly #sealed: SealedBlock[] = [];
  #tail = "";
  #links: TokensList["links"] = {};

  get sealed(): readonly SealedBlock[] {
    return this.#sealed;
  }

  append(text: string): void {
    this.#tail = (this.#tail + text).replace(/\r\n/g, "\n");
  }

  /** Seals what is finished and answers the rest; call it once per painted frame. */
  advance(): LiveTail {
    if (this.#tail === "") return { kind: "none" };
    const open = openFence(this.#tail);
    if (open !== null) return open;
    const tokens = this.#lex(this.#tail);
    const last = tokens.findLastIndex((token) => token.type !== "space");
    if (last > 0) {
      this.#seal(tokens.slice(0, last));
      return this.advance();
    }
    return this.#tail.trim() === "" ? { kind: "none" } : { kind: "html", html: this.#render(tokens) };
  }

  #lex(text: string): TokensList {
    const lexer = new Lexer(markdown.defaults);
    Object.assign(lexer.tokens.links, this.#links);
    const tokens = lexer.lex(text);
    this.#links = tokens.links;
    return tokens;
  }

  #seal(tokens: Token[]): void {
    const source = tokens.map((token) => token.raw).join("");
    // The lexer rewrites some white space; a block it didn't keep as it was can't be cut off by its length.
    if (!this.#tail.startsWith(source)) return this.#sealAll();
    this.#push(tokens, source);
    this.#tail = this.#tail.slice(source.length);
  }

  #sealAll(): void {
    const cut = this.#tail.lastIndexOf("\n\n") + 2;
    const source = cut > 1 ? this.#tail.slice(0, cut) : this.#tail;
    this.#push(this.#lex(source), source);
    this.#tail = this.#tail.slice(source.length);
  }

  #push(tokens: Token[], source: string): void {
    const html = this.#render(tokens);
    if (html !== "") this.#sealed.push({ id: this.#sealed.length, html, source });
  }

  #render(tokens: Token[]): string {
    return sanitize(markdown.parser(tokens));
  }
}

/** The tail as growing code, when it is one fence that hasn't closed yet. */
function openFence(tail: string): LiveTail | null {
  const match = OPEN_FENCE.exec(tail);
  if (match === null) return null;
  const [opening, fence = "", language = ""] = match;
  const code = tail.slice(opening.length);
  const closing = new RegExp(`(?:^|\\n) {0,3}${fence[0]}{${fence.length},}[^\\S\\n]*(?:\\n|$)`);
  if (closing.test(code)) return null;
  // The last line may be a closing fence half arrived; it is held back until it shows what it is.
  return { kind: "code", language, code: code.replace(/\n? {0,3}(?:`+|~+)$/, "") };
}
