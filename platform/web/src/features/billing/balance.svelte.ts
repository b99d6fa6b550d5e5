import type { Note } from "$lib/realtime";

/** What the tenant owes and has left in advance, as the socket tells it: null until it does, or where one may not see it. */
export interface Balance {
  owedNano: number;
  /** Null where nothing is refused for want of credit. */
  fundsNano: number | null;
}

export class LiveBalance {
  now = $state.raw<Balance | null>(null);

  /** Takes a note of the balance; others are none of its business. */
  tell(note: Note): void {
    if (note.type !== "balance") return;
    const { owed_nano: owed, funds_nano: funds } = note.body;
    if (typeof owed !== "number" || !(funds === null || typeof funds === "number")) return;
    this.now = { owedNano: owed, fundsNano: funds };
  }
}
