import { svelte } from "@sveltejs/vite-plugin-svelte";
import tailwindcss from "@tailwindcss/vite";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { precompress } from "./plugins/precompress.ts";

const backend = process.env["PARLEY_DEV_BACKEND"] ?? "http://127.0.0.1:8000";

export default defineConfig({
  base: "/",
  plugins: [tailwindcss(), svelte(), precompress()],
  resolve: {
    alias: {
      $lib: fileURLToPath(new URL("src/lib", import.meta.url)),
      $features: fileURLToPath(new URL("src/features", import.meta.url)),
    },
    conditions: process.env["VITEST"] ? ["browser"] : undefined,
  },
  build: {
    target: "es2022",
    manifest: "asset-manifest.json",
    // Nothing may become a data: URL: the content security policy names only 'self'.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    proxy: {
      "/api": { target: backend },
      "/ws": { target: backend, ws: true },
    },
  },
  test: {
    environment: "jsdom",
    include: ["tests/**/*.test.ts"],
    restoreMocks: true,
  },
});
