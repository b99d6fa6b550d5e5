/** Prices as people read them. */
import type { ModelPrices, Simulation } from "$lib/api/types";
import { exactCost, shortCost } from "$lib/money";

export type Tier = ModelPrices["tiers"][number];
export type Meter = Tier["prices"][number]["meter"];

export const METERS: Record<Meter, string> = {
  input: "Input",
  cache_read: "Cached input",
  cache_write: "Cache write",
  output: "Output",
  reasoning: "Reasoning",
  input_audio: "Audio in",
  cache_write_1h: "Cache write, 1 h",
  output_audio: "Audio out",
};
/** What the table of models shows; all else is in what unfolds. */
export const MAIN_METERS: readonly Meter[] = ["input", "cache_read", "output"];

export function priceIn(tier: Tier | undefined, meter: Meter): number | null {
  return tier?.prices.find((price) => price.meter === meter)?.nano_per_mtok ?? null;
}

export function standardOf(model: ModelPrices): Tier | undefined {
  return model.tiers.find((tier) => tier.service === "standard" && tier.above_tokens === 0) ?? model.tiers[0];
}

/** A price, exact where it is less than a cent; `Free`, `—` where there is none. */
export function perMillion(nano: number | null): string {
  if (nano === null) return "—";
  if (nano === 0) return "Free";
  return nano % 10_000_000 === 0 ? shortCost(nano) : exactCost(nano);
}

const count = new Intl.NumberFormat();

/** `Standard`, `Batch, above 200,000 tokens`. */
export function tierName(tier: Pick<Tier, "service" | "above_tokens">): string {
  const service = tier.service.charAt(0).toUpperCase() + tier.service.slice(1);
  return tier.above_tokens > 0 ? `${service}, above ${count.format(tier.above_tokens)} tokens` : service;
}

export function meterName(meter: string): string {
  return METERS[meter as Meter] ?? meter;
}

export type Option = Simulation["options"][number];
