/** The look that the console's tables share. */
export const FRAME = "overflow-x-auto rounded-xl border border-line focus-visible:outline-offset-0";
export const TABLE = "w-full border-collapse text-sm";
export const HEAD = "bg-side px-4 py-2.5 text-left text-xs font-medium whitespace-nowrap text-faint";
export const CELL = "border-t border-line px-4 py-2.5 align-middle";
