import type { ApiClient, Query } from "$lib/api/client";
import { Resource } from "$lib/api/resource.svelte";
import type { ReportRow, Sums, TopReport, UsageReport } from "$lib/api/types";
import { dayAfter, type Grouping, type Interval, type Range } from "./asking";
import { NAMED_MAX, type Span } from "./series";

const ROWS = 1_000;
/** Of a chart: as many as its longest span has bars of five series. */
const PAGES_MAX = 5;
export const LISTED = 50;
export const LISTED_MAX = 1_000;

export interface Question {
  range: Range;
  interval: Interval;
  by: Grouping;
}

export interface Report {
  question: Question;
  span: Span;
  totals: Sums;
  /** Of everything, by interval. */
  all: readonly ReportRow[];
  /** Of the first few values of what it is grouped by, by interval. */
  parts: readonly ReportRow[];
  /** By value, dearest first; empty when it isn't grouped. */
  top: readonly ReportRow[];
}

/** A report as it was asked for last. */
export class ReportState {
  question = $state.raw<Question>({ range: { from: "", to: "" }, interval: "day", by: "model" });
  readonly report: Resource<Report>;
  readonly #api: ApiClient;

  constructor(api: ApiClient) {
    this.#api = api;
    this.report = new Resource(() => this.#read(this.question));
  }

  ask(question: Question): void {
    this.question = question;
    void this.report.load({ meanwhile: true });
  }

  /** More of the values. */
  async listAll(): Promise<void> {
    const { question, report } = this;
    if (question.by === "none" || report.value === null) return;
    const top = await this.#top(question, LISTED_MAX);
    if (question === this.question && report.value !== null) report.value = { ...report.value, top };
  }

  csv(): Promise<Blob> {
    const { interval, by } = this.question;
    return this.#api.file("/billing/reports/usage", "text/csv", { ...between(this.question), interval, group_by: by === "none" ? null : by });
  }

  async #read(question: Question): Promise<Report> {
    const { interval, by } = question;
    const asked = { ...between(question), interval, limit: ROWS };
    const [whole, top] = await Promise.all([this.#rows(asked), by === "none" ? [] : this.#top(question, LISTED)]);
    const values = top.slice(0, NAMED_MAX).map((row) => (by === "none" ? null : (row.by[by] ?? "none")));
    const parts = by === "none" || values.length === 0 ? [] : (await this.#rows({ ...asked, group_by: by, [by]: values.join(",") })).rows;
    const { since, until, time_zone: timeZone } = whole.report;
    return { question, span: { since, until, timeZone, interval }, totals: whole.report.totals ?? NOTHING, all: whole.rows, parts, top };
  }

  async #top(question: Question, limit: number): Promise<ReportRow[]> {
    return (await this.#api.get<TopReport>("/billing/reports/top", { ...between(question), by: question.by, limit })).data;
  }

  async #rows(asked: Query): Promise<{ report: UsageReport; rows: ReportRow[] }> {
    const report = await this.#api.get<UsageReport>("/billing/reports/usage", asked);
    const rows = [...report.data];
    let cursor = report.next_cursor;
    for (let page = 1; cursor !== null && page < PAGES_MAX; page += 1) {
      const more: UsageReport = await this.#api.get<UsageReport>("/billing/reports/usage", { ...asked, cursor });
      rows.push(...more.data);
      cursor = more.next_cursor;
    }
    return { report, rows };
  }
}

function between({ range }: Question): Query {
  return { from: range.from, to: dayAfter(range.to) };
}

const NOTHING: Sums = {
  attempts: 0, requests: 0, estimated: 0, tokens: {}, charged_nano: 0, uncharged_nano: 0, provider_cost_nano: null, latency_ms: 0,
};
