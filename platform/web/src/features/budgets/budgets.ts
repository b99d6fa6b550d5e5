/** How budgets are said to people. */
import type { Budget, BudgetScope } from "$lib/api/types";
import { exactCost, shortCost } from "$lib/money";
import { formatDate } from "$lib/time";
import type { Directory } from "$features/console/directory.svelte";

const count = new Intl.NumberFormat();
const short = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });

export const SCOPES: readonly (readonly [Exclude<BudgetScope["kind"], "funds">, string])[] = [
  ["tenant", "The whole workspace"],
  ["member", "A member"],
  ["group", "A group"],
  ["key", "An API key"],
  ["room", "A room"],
  ["model", "A model"],
];
export const PERIODS: readonly (readonly [Budget["period"], string])[] = [
  ["day", "Each day"],
  ["month", "Each month"],
  ["total", "In all"],
];
export const MODES: Record<Budget["mode"], { label: string; text: string }> = {
  hard: { label: "Hard", text: "What doesn’t fit is refused" },
  soft: { label: "Soft", text: "Only tells at its thresholds" },
  shadow: { label: "Shadow", text: "Counts what it would refuse" },
};

export function amountOf(measure: Budget["measure"], amount: number): string {
  return measure === "nano" ? shortCost(amount) : short.format(amount);
}

export function exactOf(measure: Budget["measure"], amount: number): string {
  return measure === "nano" ? exactCost(amount) : `${count.format(amount)} tokens`;
}

/** Whom it is for: `Everybody`, `Research (group)`. */
export function scopeName(scope: BudgetScope, directory: Directory): string {
  switch (scope.kind) {
    case "tenant":
      return "Whole workspace";
    case "funds":
      return "Credit";
    case "model":
      return scope.model ?? "";
    default:
      return directory.name(scope.kind, scope.id ?? "");
  }
}

export const SCOPE_NOUNS: Record<BudgetScope["kind"], string> = {
  tenant: "Workspace",
  member: "Member",
  group: "Group",
  key: "API key",
  room: "Room",
  model: "Model",
  funds: "Credit",
};

/** `today`, `until 30 Nov 2027`, `in all`. */
export function periodName({ period, balance }: Budget): string {
  if (period === "total") return "in all";
  if (period === "day") return "today";
  const end = balance.period_end === null ? null : new Date(`${balance.period_end}T00:00:00Z`);
  if (end === null) return "this month";
  end.setUTCDate(end.getUTCDate() - 1);
  return `until ${formatDate(end.toISOString().slice(0, 10))}`;
}

const THRESHOLDS_MAX = 10;
const PERCENT_MAX = 1_000;

/** Whole percents with commas between; null for what isn't that. Nothing is no thresholds. */
export function parseThresholds(text: string): number[] | null {
  const words = text.split(",").map((word) => word.trim().replace(/\s*%$/, ""));
  if (words.length === 1 && words[0] === "") return [];
  const percents = words.map((word) => (/^\d{1,4}$/.test(word) ? Number(word) : Number.NaN));
  const right = percents.every((percent) => percent >= 1 && percent <= PERCENT_MAX) && percents.length <= THRESHOLDS_MAX;
  return right ? [...new Set(percents)].sort((one, other) => one - other) : null;
}
