/** Bounds of a room's fields, in characters; the server has the last word. */
export const TITLE_MAX = 200;
export const INSTRUCTIONS_MAX = 20_000;
export const MESSAGE_MAX = 100_000;
