import type { CacheSettings, CacheStats, SemanticCache } from "$lib/api/types";

/** All that the page shows. */
export interface Cache {
  settings: CacheSettings;
  stats: CacheStats;
  semantic: SemanticCache;
}

const count = new Intl.NumberFormat();
const percent = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 1 });
const finePercent = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 2 });

export const shownCount = (number: number): string => count.format(number);
export const shownRate = (rate: number): string => finePercent.format(rate);

export const exactHits = (stats: CacheStats): number =>
  stats.hits_memory + stats.hits_redis + stats.hits_postgres + stats.hits_dedupe;

/** The share of what was looked for that was found. */
export function hitShare(stats: CacheStats): string {
  const hits = exactHits(stats) + stats.hits_semantic;
  const asked = hits + stats.misses;
  return asked === 0 ? "—" : percent.format(hits / asked);
}

/** How long a look-up took on average. */
export function lookupTime(stats: CacheStats): string {
  return stats.semantic_lookups === 0 ? "—" : `${(stats.semantic_lookup_us / stats.semantic_lookups / 1000).toFixed(1)} ms`;
}

/** What audits say of the rate of wrong answers, in words. */
export function audited({ audits }: SemanticCache): string {
  if (audits.rate === null) return "Nothing was audited yet.";
  const among = `${shownCount(audits.wrong)} of ${shownCount(audits.count)} audited answers were wrong`;
  return `${among}: the true rate is between ${shownRate(audits.low)} and ${shownRate(audits.high)} (95 %).`;
}

/** A share in percent, as it is typed: between the bounds, or null. */
export function parsePercent(text: string, min: number, max: number): number | null {
  const found = /^\d{1,3}([.,]\d{1,3})?$/.test(text.trim()) ? Number(text.trim().replace(",", ".")) / 100 : null;
  return found !== null && found >= min && found <= max ? found : null;
}

export const typedPercent = (share: number): string => String(Number((share * 100).toFixed(3)));

/** A whole number, as it is typed: between the bounds, or null. */
export function parseWhole(text: string, min: number, max: number): number | null {
  const digits = text.trim().replaceAll(",", "");
  const found = /^\d{1,9}$/.test(digits) ? Number(digits) : null;
  return found !== null && found >= min && found <= max ? found : null;
}
