/** How plans are said to people. */
import type { CreditGrant, Plan, Subscription } from "$lib/api/types";
import { shortCost } from "$lib/money";

export const STATES: Record<Subscription["state"], { label: string; tone: "good" | "warn" | "danger" | "plain" }> = {
  trialing: { label: "Trial", tone: "good" },
  active: { label: "Active", tone: "good" },
  past_due: { label: "Payment due", tone: "warn" },
  suspended: { label: "Suspended", tone: "danger" },
  cancelled: { label: "Ended", tone: "plain" },
};

export const GRANT_KINDS: Record<CreditGrant["kind"], string> = {
  plan: "Included in the plan",
  topup: "Bought",
  gift: "Given",
  refund: "Refund",
};

/** What it costs: `$20 a seat each month`, `Free`. */
export function priceOf(plan: Plan): string {
  if (plan.price_nano === 0) return plan.kind === "payg" ? "No fee" : "Free";
  return `${shortCost(plan.price_nano)} ${plan.kind === "seat" ? "a seat each month" : "a month"}`;
}

/** What may be used, and how it is paid. */
export function termsOf(plan: Plan): string {
  switch (plan.kind) {
    case "free":
    case "prepaid":
      return "Use what there is credit for";
    case "seat":
      return "Credit first; what passes it is billed";
    case "payg":
      return "Pay for what you use";
  }
}

export function includedOf(plan: Plan): string | null {
  return plan.included_nano > 0 ? `${shortCost(plan.included_nano)} of credit each month` : null;
}

/** Of the grant, still to be used as of when credit last changed. */
export function restOf(grant: CreditGrant): number {
  return Math.max(0, grant.amount_nano - grant.used_nano - grant.expired_nano - grant.withdrawn_nano);
}
