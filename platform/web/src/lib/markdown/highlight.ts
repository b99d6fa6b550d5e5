import { sanitize } from "./sanitize";

type Highlighter = (typeof import("highlight.js/lib/common"))["default"];

/** Longer code stays plain: colours aren't worth a frozen page. */
const HIGHLIGHT_MAX_CHARS = 40_000;
let loading: Promise<Highlighter> | null = null;

/** `code` as highlighted HTML, or null when its language isn't known. Loads the highlighter on first use. */
export async function highlight(code: string, language: string): Promise<string | null> {
  if (language === "" || code.length > HIGHLIGHT_MAX_CHARS) return null;
  loading ??= import("highlight.js/lib/common").then((module) => module.default);
  try {
    const highlighter = await loading;
    if (!highlighter.getLanguage(language)) return null;
    return sanitize(highlighter.highlight(code, { language, ignoreIllegals: true }).value);
  } catch {
    loading = null;
    return null;
  }
}
