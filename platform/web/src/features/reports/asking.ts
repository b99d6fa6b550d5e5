/** What a report is asked for: days of the calendar, which the server takes in the tenant's own time zone. */
import type { Sums } from "$lib/api/types";
import { tokensIn, tokensOut } from "$features/console/usage";

export type Interval = "hour" | "day" | "month";
export type Dimension = "model" | "provider" | "member" | "group" | "api_key" | "room" | "cache";
export type Grouping = Dimension | "none";
export type Measure = "charged" | "cost" | "requests" | "tokens";
export type Preset = "month" | "last_month" | "7" | "30" | "90" | "365" | "custom";

export interface Range {
  /** The first day, and the last. */
  from: string;
  to: string;
}

export const PRESETS: readonly (readonly [Preset, string])[] = [
  ["month", "This month"],
  ["last_month", "Last month"],
  ["7", "Last 7 days"],
  ["30", "Last 30 days"],
  ["90", "Last 90 days"],
  ["365", "Last 12 months"],
  ["custom", "From … to …"],
];
export const INTERVALS: readonly (readonly [Interval, string])[] = [
  ["hour", "Hour"],
  ["day", "Day"],
  ["month", "Month"],
];
export const DIMENSIONS: Record<Dimension, string> = {
  model: "Model",
  provider: "Provider",
  member: "Member",
  group: "Group",
  api_key: "API key",
  room: "Room",
  cache: "Cache",
};
/** Days at most: as many bars as can be told apart. */
export const DAYS_MAX: Record<Interval, number> = { hour: 14, day: 370, month: 3_650 };

const DAY_MS = 86_400_000;

function dayOf(date: Date): string {
  const two = (part: number): string => String(part).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

export function rangeOf(preset: Exclude<Preset, "custom">, now: Date = new Date()): Range {
  const [year, month, day] = [now.getFullYear(), now.getMonth(), now.getDate()];
  if (preset === "month") return { from: dayOf(new Date(year, month, 1)), to: dayOf(now) };
  if (preset === "last_month") return { from: dayOf(new Date(year, month - 1, 1)), to: dayOf(new Date(year, month, 0)) };
  return { from: dayOf(new Date(year, month, day - Number(preset) + 1)), to: dayOf(now) };
}

const utc = (day: string): number => Date.parse(`${day}T00:00:00Z`);

/** Days from the first to the last, both counted; NaN where one isn't a day. */
export function daysIn({ from, to }: Range): number {
  return Math.round((utc(to) - utc(from)) / DAY_MS) + 1;
}

export function dayAfter(day: string): string {
  return new Date(utc(day) + DAY_MS).toISOString().slice(0, 10);
}

/** What is wrong with a range, in words; null for nothing. */
export function problemOf(range: Range, interval: Interval): string | null {
  const days = daysIn(range);
  if (Number.isNaN(days)) return "Choose both days.";
  if (days < 1) return "The first day has to be before the last.";
  if (days > DAYS_MAX[interval]) return `By the ${interval}, at most ${DAYS_MAX[interval]} days at a time.`;
  return null;
}

/** The finest interval that a range allows, and not finer than need be. */
export function fittingInterval(range: Range): Interval {
  const days = daysIn(range);
  if (days <= 2) return "hour";
  return days <= DAYS_MAX.day / 2 ? "day" : "month";
}

export function measured(sums: Sums, measure: Measure): number {
  switch (measure) {
    case "charged":
      return sums.charged_nano;
    case "cost":
      return sums.provider_cost_nano ?? 0;
    case "requests":
      return sums.requests;
    case "tokens":
      return tokensIn(sums.tokens) + tokensOut(sums.tokens);
  }
}
