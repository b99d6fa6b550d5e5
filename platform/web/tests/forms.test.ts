import { describe, expect, it } from "vitest";
import { ApiError, NetworkError } from "$lib/api/errors";
import { parseDollars, plainDollars } from "$lib/money";
import { Submission } from "$lib/ui/submission.svelte";
import { parseThresholds } from "$features/budgets/budgets";

function refused(details: unknown, message = "Refused."): ApiError {
  return new ApiError(400, { message, details } as object, null);
}

describe("a form", () => {
  it("shows what the server says at its fields", async () => {
    const form = new Submission("limit", "scope");
    const fields = [
      { field: "limit", code: "invalid", message: "A valid integer is required." },
      { field: "scope.id", code: "invalid", message: "Must be a valid UUID." },
    ];
    expect(await form.run(() => Promise.reject(refused({ fields })))).toBe(false);
    expect(form.fields).toEqual({ limit: "A valid integer is required.", scope: "Must be a valid UUID." });
    expect(form.problem).toBeNull();
  });

  it("shows a named parameter at its field, without naming it again", async () => {
    const form = new Submission("scope");
    await form.run(() => Promise.reject(refused({ param: "scope" }, "scope: there is no such member.")));
    expect(form.fields.scope).toBe("There is no such member.");
  });

  it("says above itself what concerns no field of it", async () => {
    const form = new Submission("limit");
    await form.run(() => Promise.reject(refused({ param: "other" }, "other: no.")));
    expect(form.problem).toBe("other: no.");
    await form.run(() => Promise.reject(new NetworkError()));
    expect(form.problem).toContain("can't be reached");
  });

  it("is sent once at a time, and forgets what was wrong", async () => {
    const form = new Submission("limit");
    expect(form.check({ limit: "Enter a limit." })).toBe(false);
    let done: () => void = () => undefined;
    const first = form.run(() => new Promise<void>((resolve) => (done = resolve)));
    expect(form.fields).toEqual({});
    expect(await form.run(() => Promise.resolve())).toBe(false);
    done();
    expect(await first).toBe(true);
  });
});

describe("amounts that are typed", () => {
  it.each([
    ["250", 250_000_000_000n],
    ["$1,250.50", 1_250_500_000_000n],
    ["0.000000001", 1n],
    ["", null],
    ["-1", null],
    ["1.2.3", null],
    ["1e3", null],
    ["0.0000000001", null],
  ])("%j", (text, nano) => expect(parseDollars(text)).toBe(nano));

  it("are shown as they are typed", () => {
    expect(plainDollars(1_250_500_000_000)).toBe("1250.50");
    expect(parseDollars(plainDollars(123_456_789))).toBe(123_456_789n);
  });
});

describe("thresholds that are typed", () => {
  it.each([
    ["50, 80,100", [50, 80, 100]],
    ["100 %, 50 %, 50", [50, 100]],
    ["", []],
    ["0", null],
    ["1001", null],
    ["fifty", null],
    ["1,2,3,4,5,6,7,8,9,10,11", null],
    ["50,,80", null],
  ])("%j", (text, percents) => expect(parseThresholds(text)).toEqual(percents));
});
