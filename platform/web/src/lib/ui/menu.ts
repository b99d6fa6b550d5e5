/** The look of menus made of Bits UI's parts. */
export const MENU =
  "rise z-50 min-w-52 max-w-[calc(100vw-1.5rem)] rounded-xl border border-line bg-raised p-1.5 shadow-float focus-visible:outline-none";

export const MENU_ITEM =
  "flex w-full items-center gap-2.5 rounded-lg px-2.5 py-2 text-left text-sm text-ink select-none outline-none " +
  "data-highlighted:bg-hover data-disabled:opacity-50";

export const MENU_LABEL = "px-2.5 pt-2 pb-1 text-xs font-medium text-faint";
export const MENU_LINE = "my-1.5 h-px bg-line";
