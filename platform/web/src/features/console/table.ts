/** The look that the console's tables share. */
export const FRAME = "overflow-x-auto rounded-xl border border-line focus-visible:outline-offset-0";
export const TABLE = "w-full border-collapse text-sm";
export const HEAD = "bg-side px-3 py-2.5 text-left sm:px-4 text-xs font-medium whitespace-nowrap text-faint";
export const CELL = "border-t border-line px-3 py-2.5 sm:px-4 align-middle";
