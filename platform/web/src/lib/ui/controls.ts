/** The look that text fields, selects and text areas share. */
export const CONTROL =
  "w-full rounded-lg border border-edge/70 bg-raised px-3 py-2 text-[0.9375rem] text-ink transition-colors hover:border-edge " +
  "focus:border-accent focus:outline-2 focus:-outline-offset-1 focus:outline-accent aria-invalid:border-danger " +
  "disabled:cursor-not-allowed disabled:opacity-60";
