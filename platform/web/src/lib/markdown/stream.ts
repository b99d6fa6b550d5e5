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
  readonly #links: TokensList["links"] = {};
  #tail = "";
  /** How much of the tail was looked at for finished blocks. */
  #examined = 0;

  get sealed(): readonly SealedBlock[] {
    return this.#sealed;
  }

  append(text: string): void {
    // A carriage return at the end waits for its line feed.
    this.#tail = (this.#tail + text).replace(/\r\n|\r(?=[^])/g, "\n");
  }

  /** Seals what is finished and answers the rest; call it once per painted frame. */
  advance(): LiveTail {
    this.#sealFinished();
    if (this.#tail.trim() === "") return { kind: "none" };
    return openFence(this.#tail) ?? { kind: "html", html: this.#render(this.#lex(this.#tail)) };
  }

  /**
   * Only whole lines decide, because a line half arrived may yet turn out to continue the block above it. Of the blocks
   * they make, the last may still grow, unless it is of a kind that closes itself; those before it are finished.
   */
  #sealFinished(): void {
    const end = this.#tail.lastIndexOf("\n") + 1;
    if (end <= this.#examined) return;
    this.#examined = end;
    if (openFence(this.#tail) !== null) return;
    const tokens = this.#lex(this.#tail.slice(0, end));
    const last = tokens.findLastIndex((token) => token.type !== "space");
    const finished = isClosed(tokens[last]) ? last + 1 : last;
    if (finished > 0) this.#seal(tokens.slice(0, finished));
  }

  #seal(tokens: Token[]): void {
    const source = tokens.map((token) => token.raw).join("");
    // The lexer may rewrite white space; blocks it didn't keep as they were can't be cut off by their length.
    if (!this.#tail.startsWith(source)) return;
    for (const token of tokens) {
      if (token.type === "def") this.#links[token.tag as string] ??= { href: token.href as string, title: token.title as string };
    }
    for (const token of tokens) {
      const html = this.#render([token]);
      if (html.trim() !== "") this.#sealed.push({ id: this.#sealed.length, html, source: token.raw });
    }
    this.#tail = this.#tail.slice(source.length);
    this.#examined -= source.length;
  }

  #lex(text: string): TokensList {
    const lexer = new Lexer(markdown.defaults);
    Object.assign(lexer.tokens.links, this.#links);
    return lexer.lex(text);
  }

  #render(tokens: Token[]): string {
    return sanitize(markdown.parser(tokens));
  }
}

/** Whether a block made of whole lines is at its end: a heading, a rule, or a fence with its closing line. */
function isClosed(token: Token | undefined): boolean {
  if (token?.type === "code") return OPEN_FENCE.test(token.raw) && openFence(`${token.raw}\n`) === null;
  return token?.type === "hr" || (token?.type === "heading" && token.raw.trimStart().startsWith("#"));
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
