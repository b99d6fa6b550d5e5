import DOMPurify, { type Config } from "dompurify";

const POLICY: Config = {
  ALLOWED_TAGS: [
    "a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre",
    "span", "strong", "sub", "sup", "table", "tbody", "td", "th", "thead", "tr", "ul",
  ],
  ALLOWED_ATTR: ["align", "class", "href", "rel", "start", "target"],
  // Attributes whose values aren't addresses, so that the rule for addresses doesn't apply to them.
  ADD_URI_SAFE_ATTR: ["align", "rel", "start", "target"],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
};

/**
 * Markup made of nothing but these tags, without attributes or with exactly the ones our renderer writes, is safe by
 * its form. Most of a streaming answer is that, and purifying it anew for each frame would be most of the cost.
 */
const PLAIN_TAG = [
  "\\/?(?:blockquote|code|del|em|h[1-6]|li|ol|p|pre|strong|table|tbody|td|th|thead|tr|ul)",
  "(?:br|hr)",
  'code class="language-[\\w+#.-]*"',
  'a href="https?:\\/\\/[^"<>]*" target="_blank" rel="noopener noreferrer nofollow"',
  "\\/a",
].join("|");
const PLAIN = new RegExp(`^[^<]*(?:<(?:${PLAIN_TAG})>[^<]*)*$`);

/** Makes HTML safe to show: no scripts, styles, forms, images or foreign URLs survive. */
export function sanitize(html: string): string {
  return PLAIN.test(html) ? html : DOMPurify.sanitize(html, POLICY);
}

const ENTITIES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? character);
}
