import { Marked, type RendererObject, type Tokens } from "marked";
import { escapeHtml, sanitize } from "./sanitize";

const LINE_BREAK = /^<br\s*\/?>$/i;
const SAFE_URL = /^(?:https?:|mailto:)/i;

/**
 * A model's markdown is text from a stranger. Raw HTML is shown, not obeyed; images become links, because loading one
 * would tell its host what the model was made to write.
 */
const renderer: RendererObject = {
  html({ text }: Tokens.HTML | Tokens.Tag): string {
    return LINE_BREAK.test(text.trim()) ? "<br>" : escapeHtml(text);
  },
  link({ href, tokens }: Tokens.Link): string {
    const label = this.parser.parseInline(tokens);
    return anchor(href, label);
  },
  image({ href, text }: Tokens.Image): string {
    return anchor(href, escapeHtml(text || href));
  },
  code({ text, lang }: Tokens.Code): string {
    const language = /^[\w+#.-]+/.exec(lang ?? "")?.[0] ?? "";
    return `<pre><code class="language-${escapeHtml(language)}">${escapeHtml(text)}\n</code></pre>\n`;
  },
  checkbox({ checked }: Tokens.Checkbox): string {
    return `<span class="task">${checked ? "☑" : "☐"}</span> `;
  },
};

function anchor(href: string, label: string): string {
  if (!SAFE_URL.test(href.trim())) return label;
  return `<a href="${escapeHtml(href.trim())}" target="_blank" rel="noopener noreferrer nofollow">${label}</a>`;
}

export const markdown = new Marked({ gfm: true, breaks: false, async: false }, { renderer });

/** A whole markdown text as safe HTML. */
export function renderMarkdown(text: string): string {
  return sanitize(markdown.parse(text) as string);
}
