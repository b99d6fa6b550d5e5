/**
 * Lengths and slices in Unicode code points, the unit of every offset in the protocol. JavaScript strings count UTF-16
 * units, in which an astral character is two.
 */

const HIGH_SURROGATE = /[\uD800-\uDBFF]/;

function pairAt(text: string, index: number): boolean {
  const high = text.charCodeAt(index);
  if (high < 0xd800 || high > 0xdbff) return false;
  const low = text.charCodeAt(index + 1);
  return low >= 0xdc00 && low <= 0xdfff;
}

/** Number of code points in `text`. */
export function codePointLength(text: string): number {
  if (!HIGH_SURROGATE.test(text)) return text.length;
  let count = 0;
  for (let index = 0; index < text.length; index += pairAt(text, index) ? 2 : 1) count += 1;
  return count;
}

/** `text` without its first `count` code points. */
export function dropCodePoints(text: string, count: number): string {
  if (!HIGH_SURROGATE.test(text)) return text.slice(count);
  let index = 0;
  for (let dropped = 0; dropped < count && index < text.length; dropped += 1) index += pairAt(text, index) ? 2 : 1;
  return text.slice(index);
}
