/** The look that the cells of tables share. */
export const HEAD = "bg-side px-3 py-2.5 text-left sm:px-4 text-xs font-medium whitespace-nowrap text-faint";
export const CELL = "border-t border-line px-3 py-2.5 sm:px-4 align-middle";
/** Of numbers, in head and body. */
export const NUMBER = "text-right tabular-nums";
