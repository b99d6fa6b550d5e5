import { recall, remember } from "./storage";

export type ThemeChoice = "system" | "light" | "dark";

const KEY = "parley.theme";
const system = matchMedia("(prefers-color-scheme: dark)");

/** The chosen theme; `public/theme.js` applies the same choice before the first paint. */
class Theme {
  choice = $state<ThemeChoice>(stored());

  constructor() {
    system.addEventListener("change", () => this.#apply());
    addEventListener("storage", (event) => {
      if (event.key !== KEY) return;
      this.choice = stored();
      this.#apply();
    });
  }

  choose(choice: ThemeChoice): void {
    this.choice = choice;
    remember(KEY, choice === "system" ? null : choice);
    this.#apply();
  }

  #apply(): void {
    const dark = this.choice === "dark" || (this.choice === "system" && system.matches);
    document.documentElement.dataset["theme"] = dark ? "dark" : "light";
  }
}

function stored(): ThemeChoice {
  const value = recall(KEY);
  return value === "light" || value === "dark" ? value : "system";
}

export const theme = new Theme();
