import { vitePreprocess } from "@sveltejs/vite-plugin-svelte";

/** Runes everywhere; styles always leave as files, because the content security policy allows no inline ones. */
export default {
  preprocess: vitePreprocess(),
  compilerOptions: { runes: true, css: "external" },
};
