import { describe, expect, it } from "vitest";
import { parseRoute } from "$lib/router.svelte";

const ID = "01a1fea2-6937-7254-bfa0-25bdd733844a";

describe("a path", () => {
  it.each([
    ["/", { name: "home" }],
    ["/console", { name: "console", page: null }],
    ["/console/billing/", { name: "console", page: "billing" }],
    [`/console/invoices/${ID.toUpperCase()}`, { name: "console", page: "invoices", id: ID }],
    [`/rooms/${ID}`, { name: "room", id: ID }],
    ["/console/nothing", { name: "not-found" }],
    ["/console/invoices/7", { name: "not-found" }],
    ["/constructor", { name: "not-found" }],
  ])("%s", (path, route) => expect(parseRoute(path)).toEqual(route));
});
