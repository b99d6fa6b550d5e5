/** Short confirmations and failures that concern no place on the page. */
export interface Toast {
  id: number;
  text: string;
  tone: "plain" | "danger";
}

const SHOWN_MS = 5_000;
const SHOWN_MAX = 4;

class Toasts {
  list = $state.raw<Toast[]>([]);
  #last = 0;

  show(text: string, tone: Toast["tone"] = "plain"): void {
    this.#last += 1;
    const id = this.#last;
    this.list = [...this.list, { id, text, tone }].slice(-SHOWN_MAX);
    setTimeout(() => this.dismiss(id), SHOWN_MS);
  }

  dismiss(id: number): void {
    this.list = this.list.filter((toast) => toast.id !== id);
  }
}

export const toasts = new Toasts();
