import { describe, expect, it } from "vitest";
import type { ReportRow } from "$lib/api/types";
import { niceScale } from "$lib/ui/bars";
import { daysIn, dayAfter, fittingInterval, problemOf, rangeOf } from "$features/reports/asking";
import { barsOf, type Span } from "$features/reports/series";

function row(start: string, nano: number, by: Record<string, string | null> = {}): ReportRow {
  return {
    start, by, names: {}, attempts: 1, requests: 1, estimated: 0, tokens: {},
    charged_nano: nano, uncharged_nano: 0, provider_cost_nano: null, latency_ms: 1,
  };
}

describe("a report's range", () => {
  const now = new Date(2027, 2, 15, 12);

  it.each([
    ["month", "2027-03-01", "2027-03-15"],
    ["last_month", "2027-02-01", "2027-02-28"],
    ["7", "2027-03-09", "2027-03-15"],
    ["365", "2026-03-16", "2027-03-15"],
  ] as const)("of %s", (preset, from, to) => expect(rangeOf(preset, now)).toEqual({ from, to }));

  it("counts both its ends, and goes on with the day after", () => {
    expect(daysIn({ from: "2027-02-28", to: "2027-03-01" })).toBe(2);
    expect(dayAfter("2027-02-28")).toBe("2027-03-01");
  });

  it("is refused where it is none, or too long for its interval", () => {
    expect(problemOf({ from: "2027-03-02", to: "2027-03-01" }, "day")).toContain("before");
    expect(problemOf({ from: "", to: "2027-03-01" }, "day")).toContain("both");
    expect(problemOf({ from: "2027-01-01", to: "2027-03-01" }, "hour")).toContain("14 days");
    expect(problemOf({ from: "2027-03-01", to: "2027-03-01" }, "hour")).toBeNull();
  });

  it("has an interval that fits it", () => {
    expect(fittingInterval({ from: "2027-03-01", to: "2027-03-01" })).toBe("hour");
    expect(fittingInterval({ from: "2027-03-01", to: "2027-03-31" })).toBe("day");
    expect(fittingInterval({ from: "2026-03-01", to: "2027-02-28" })).toBe("month");
  });
});

describe("bars", () => {
  const span: Span = { since: "2027-03-26T23:00:00Z", until: "2027-03-29T22:00:00Z", timeZone: "Europe/Berlin", interval: "day" };

  it("are there for each day of the place, also without usage and where the clocks change", () => {
    const all = [row("2027-03-27T00:00:00+01:00", 5), row("2027-03-29T00:00:00+02:00", 7)];
    const { buckets, series } = barsOf(all, [], { span, by: "none", measure: "charged", top: { values: [], names: [] } });
    expect(buckets.map(({ values }) => values)).toEqual([[5], [0], [7]]);
    expect(series).toHaveLength(1);
  });

  it("tell the values that are charged most apart, and have the rest as one", () => {
    const start = "2027-03-27T00:00:00+01:00";
    const parts = [row(start, 6, { api_key: "k1" }), row(start, 3, { api_key: null })];
    const top = { values: ["k1", null], names: ["Nightly", "Without a key"] };
    const { buckets, series } = barsOf([row(start, 10)], parts, { span, by: "api_key", measure: "charged", top });
    expect(buckets[0]?.values).toEqual([6, 3, 1]);
    expect(series.map(({ name }) => name)).toEqual(["Nightly", "Without a key", "All others"]);
  });

  it("have no rest where members of two groups count twice", () => {
    const start = "2027-03-27T00:00:00+01:00";
    const parts = [row(start, 8, { group: "g1" }), row(start, 8, { group: "g2" })];
    const { buckets, series } = barsOf([row(start, 10)], parts, { span, by: "group", measure: "charged", top: { values: ["g1", "g2"], names: ["A", "B"] } });
    expect(buckets[0]?.values).toEqual([8, 8]);
    expect(series).toHaveLength(2);
  });

  it("count the hour twice that comes twice", () => {
    const hours: Span = { since: "2027-10-31T00:00:00Z", until: "2027-10-31T02:00:00Z", timeZone: "Europe/Berlin", interval: "hour" };
    const all = [row("2027-10-31T02:00:00+02:00", 1), row("2027-10-31T02:00:00+01:00", 2)];
    const { buckets } = barsOf(all, [], { span: hours, by: "none", measure: "charged", top: { values: [], names: [] } });
    expect(buckets.map(({ values }) => values)).toEqual([[3]]);
  });
});

describe("an axis", () => {
  it.each([
    [0, 1, 1],
    [9, 10, 5],
    [10, 10, 5],
    [101, 150, 4],
    [0.00031, 0.0004, 5],
  ])("to %d ends at %d with %d ticks", (most, top, ticks) => {
    const scale = niceScale(most);
    expect(scale.top).toBeCloseTo(top, 9);
    expect(scale.ticks).toHaveLength(ticks);
    expect(scale.top).toBeGreaterThanOrEqual(most);
  });
});
