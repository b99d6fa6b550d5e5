/** From a report's rows to the bars of a chart. */
import type { ReportRow } from "$lib/api/types";
import type { Bucket, Series } from "$lib/ui/bars";
import { measured, type Dimension, type Grouping, type Interval, type Measure } from "./asking";

const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;
/** More bars than this aren't made, whatever is asked. */
const BUCKETS_MAX = 800;
/** The chart's sixth colour. */
export const OTHER_TONE = 5;
export const NAMED_MAX = 5;

export interface Span {
  since: string;
  until: string;
  timeZone: string;
  interval: Interval;
}

const hour = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", timeZone: "UTC" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", timeZone: "UTC" });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
const month = new Intl.DateTimeFormat(undefined, { month: "short", year: "2-digit", timeZone: "UTC" });
const monthName = new Intl.DateTimeFormat(undefined, { month: "long", year: "numeric", timeZone: "UTC" });

const clocks = new Map<string, Intl.DateTimeFormat>();

function clockOf(timeZone: string): Intl.DateTimeFormat {
  let clock = clocks.get(timeZone);
  if (clock === undefined) {
    clock = new Intl.DateTimeFormat("en-GB", {
      timeZone, year: "numeric", month: "numeric", day: "numeric", hour: "numeric", hourCycle: "h23",
    });
    clocks.set(timeZone, clock);
  }
  return clock;
}

/** The clock of a place as if it were UTC's, in ms, cut to the start of its interval. */
function wall(moment: number, { timeZone, interval }: Span): number {
  const parts = clockOf(timeZone).formatToParts(moment);
  const part = (type: Intl.DateTimeFormatPartTypes): number => Number(parts.find((one) => one.type === type)?.value ?? 0);
  return Date.UTC(part("year"), part("month") - 1, interval === "month" ? 1 : part("day"), interval === "hour" ? part("hour") : 0);
}

function following(start: number, interval: Interval): number {
  if (interval !== "month") return start + (interval === "hour" ? HOUR_MS : DAY_MS);
  const date = new Date(start);
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1, 1);
}

function words(start: number, interval: Interval): { label: string; title: string } {
  if (interval === "month") return { label: month.format(start), title: monthName.format(start) };
  if (interval === "day") return { label: day.format(start), title: weekday.format(start) };
  const midnight = new Date(start).getUTCHours() === 0;
  return { label: midnight ? day.format(start) : hour.format(start), title: `${day.format(start)}, ${hour.format(start)}` };
}

export function titleOf(row: ReportRow, span: Span): string {
  return words(wall(Date.parse(row.start), span), span.interval).title;
}

export interface Top {
  /** The values that have a series of their own, dearest first. */
  values: readonly (string | null)[];
  names: readonly string[];
}

export interface Bars {
  buckets: Bucket[];
  series: Series[];
}

/**
 * Bars for each interval of the span, also those without usage. `all` has the rows of everything; `parts` those of the
 * values that have a series. What `all` has beyond them is the last series; who is in two groups counts in both, so that
 * may come to less than nothing, and is then nothing.
 */
export function barsOf(
  all: readonly ReportRow[], parts: readonly ReportRow[], { span, by, measure, top }: { span: Span; by: Grouping; measure: Measure; top: Top },
): Bars {
  // Added up: where clocks are put back, an hour of theirs comes twice.
  const whole = new Map<number, number>();
  for (const row of all) add(whole, wall(Date.parse(row.start), span), measured(row, measure));
  const split = new Map<string, number>();
  for (const row of parts) add(split, `${wall(Date.parse(row.start), span)} ${by === "none" ? "" : row.by[by]}`, measured(row, measure));
  const named = by === "none" ? [] : top.values;
  const starts: number[] = [];
  const end = Date.parse(span.until);
  for (let start = wall(Date.parse(span.since), span); starts.length < BUCKETS_MAX; start = following(start, span.interval)) {
    if (start > wall(end - 1, span)) break;
    starts.push(start);
  }
  const buckets = starts.map((start): Bucket => {
    const values = named.map((value) => split.get(`${start} ${value}`) ?? 0);
    const rest = (whole.get(start) ?? 0) - values.reduce((sum, value) => sum + value, 0);
    return { key: String(start), ...words(start, span.interval), values: [...values, Math.max(0, rest)] };
  });
  const series = named.map((_, place): Series => ({ name: top.names[place] ?? "", tone: place }));
  const hasRest = buckets.some(({ values }) => (values.at(-1) ?? 0) > 0);
  if (named.length === 0) return { buckets, series: [{ name: "All", tone: 0 }] };
  if (!hasRest) return { buckets: buckets.map((bucket) => ({ ...bucket, values: bucket.values.slice(0, -1) })), series };
  return { buckets, series: [...series, { name: "All others", tone: OTHER_TONE }] };
}

function add<Key>(sums: Map<Key, number>, key: Key, value: number): void {
  sums.set(key, (sums.get(key) ?? 0) + value);
}

const NONE: Record<Dimension, string> = {
  model: "No model",
  provider: "No provider",
  member: "Nobody",
  group: "In no group",
  api_key: "Without a key",
  room: "Outside of rooms",
  cache: "Not looked up",
};
const CACHE: Record<string, string> = { exact: "Exact hit", semantic: "Semantic hit", miss: "Miss", bypass: "Bypassed", dedupe: "Shared answer" };

/** What a row's value of a dimension is called. */
export function valueName(row: ReportRow, by: Dimension, roomName: (id: string) => string): string {
  const value = row.by[by];
  if (value === null || value === undefined) return NONE[by];
  if (by === "cache") return CACHE[value] ?? value;
  if (by === "room") return roomName(value);
  const isId = by === "member" || by === "group" || by === "api_key";
  return row.names[by] ?? (isId ? `${by === "api_key" ? "Key" : by === "group" ? "Group" : "Member"} …${value.slice(-6)}` : value);
}
