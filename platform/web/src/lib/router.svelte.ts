/** Paths of the app, over the History API. */
export const CONSOLE_PAGES = [
  "members",
  "api-keys",
  "usage",
  "notices",
  "cache",
  "reports",
  "budgets",
  "billing",
  "invoices",
  "prices",
] as const;
export type ConsolePage = (typeof CONSOLE_PAGES)[number];

export type Route =
  | { name: "home" }
  | { name: "sign-in" }
  | { name: "room"; id: string }
  /** Without a page: the first that one may see. */
  | { name: "console"; page: ConsolePage | null; id?: string }
  | { name: "not-found" };

const INVOICE = /^\/console\/invoices\/([0-9a-f-]{36})$/i;
const ROOM = /^\/rooms\/([0-9a-f-]{36})$/i;
const PAGES: Record<string, Route> = {
  "/": { name: "home" },
  "/sign-in": { name: "sign-in" },
  "/console": { name: "console", page: null },
  ...Object.fromEntries(CONSOLE_PAGES.map((page) => [`/console/${page}`, { name: "console", page }])),
};

export function parseRoute(path: string): Route {
  const trimmed = path.length > 1 ? path.replace(/\/+$/, "") : path;
  const room = ROOM.exec(trimmed)?.[1];
  if (room !== undefined) return { name: "room", id: room.toLowerCase() };
  const invoice = INVOICE.exec(trimmed)?.[1];
  if (invoice !== undefined) return { name: "console", page: "invoices", id: invoice.toLowerCase() };
  return (Object.hasOwn(PAGES, trimmed) ? PAGES[trimmed] : undefined) ?? { name: "not-found" };
}

class Router {
  route = $state.raw<Route>(parseRoute(location.pathname));

  constructor() {
    addEventListener("popstate", () => (this.route = parseRoute(location.pathname)));
    document.addEventListener("click", (event) => this.#follow(event));
  }

  go(path: string, options: { replace?: boolean } = {}): void {
    if (path !== location.pathname) history[options.replace ? "replaceState" : "pushState"](null, "", path);
    this.route = parseRoute(path);
  }

  /** Plain clicks on links within the app change the page without a load. */
  #follow(event: MouseEvent): void {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    if (link === null || link.target !== "" || link.hasAttribute("download") || link.origin !== location.origin) return;
    if (link.pathname === location.pathname && link.hash !== "") return;
    if (parseRoute(link.pathname).name === "not-found") return;
    event.preventDefault();
    this.go(link.pathname);
  }
}

export const router = new Router();
