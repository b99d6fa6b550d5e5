/** Money is integer nano-USD (10⁻⁹ $) everywhere; floating point appears nowhere on its way to the screen. */
const NANO = 1_000_000_000n;

export type Nano = number | string | bigint;

/** The exact amount: `$0.000012345`, `−$2`, `$1.50`. */
export function exactCost(nano: Nano): string {
  const amount = BigInt(nano);
  const magnitude = amount < 0n ? -amount : amount;
  const fraction = (magnitude % NANO).toString().padStart(9, "0").replace(/0+$/, "");
  const cents = fraction === "" ? "" : `.${fraction.padEnd(2, "0")}`;
  return `${amount < 0n ? "−" : ""}$${group(magnitude / NANO)}${cents}`;
}

/**
 * The amount as people read it: cents from a dollar up, and below that two significant digits, rounded half up:
 * `$1,234.50`, `$0.042`, `$0.0000031`, `$0`.
 */
export function shortCost(nano: Nano): string {
  const amount = BigInt(nano);
  if (amount === 0n) return "$0";
  const magnitude = amount < 0n ? -amount : amount;
  const digits = magnitude.toString().length;
  const unit = digits >= 10 ? 10_000_000n : 10n ** BigInt(Math.max(0, digits - 2));
  const rounded = ((magnitude + unit / 2n) / unit) * unit;
  return exactCost(amount < 0n ? -rounded : rounded);
}

const DOLLARS = /^\$?\s*(\d{1,10})(?:[.](\d{1,9}))?$/;

/** What a person typed as dollars, such as `1,250.50`, in nano-USD; null for what is no such amount. */
export function parseDollars(text: string): bigint | null {
  const found = DOLLARS.exec(text.trim().replaceAll(",", ""));
  return found ? BigInt(found[1] ?? "0") * NANO + BigInt((found[2] ?? "").padEnd(9, "0")) : null;
}

/** An amount as a person would type it: `1250.50`. */
export function plainDollars(nano: Nano): string {
  return exactCost(nano).replace("$", "").replaceAll(",", "").replace("−", "-");
}

function group(whole: bigint): string {
  return whole.toString().replace(/\B(?=(\d{3})+$)/g, ",");
}
