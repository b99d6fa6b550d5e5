/** How invoices are said to people. */
import type { Invoice } from "$lib/api/types";

interface Standing {
  label: string;
  tone: "good" | "warn" | "danger" | "plain";
}

/** Where an invoice stands; one that is late is told apart. */
export function standingOf(invoice: Invoice): Standing {
  switch (invoice.state) {
    case "draft":
      return { label: "Draft", tone: "plain" };
    case "paid":
      return { label: "Paid", tone: "good" };
    case "void":
      return { label: "Void", tone: "plain" };
    case "final":
      if (invoice.kind === "credit_note") return { label: "Issued", tone: "good" };
      if (invoice.due_nano === 0) return { label: "Nothing due", tone: "good" };
      return invoice.overdue_at === null ? { label: "Due", tone: "warn" } : { label: "Overdue", tone: "danger" };
  }
}

export function nameOf(invoice: Invoice): string {
  if (invoice.number !== null) return invoice.number;
  return invoice.kind === "credit_note" ? "Draft credit note" : "Draft";
}

/** `21 Nov 2026`, in the invoice's own time zone, as on its PDF. */
export function dayOf({ time_zone: timeZone }: Pick<Invoice, "time_zone">, moment: string | number): string {
  return new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric", timeZone }).format(new Date(moment));
}

/** `1 Nov 2026 – 30 Nov 2026`; the end isn't part of it. */
export function periodOf(invoice: Invoice): string {
  return `${dayOf(invoice, invoice.period_start)} – ${dayOf(invoice, Date.parse(invoice.period_end) - 1)}`;
}

/** `19 %` of 1,900 hundredths of a percent. */
export function taxRate(bps: number): string {
  return `${new Intl.NumberFormat(undefined, { maximumFractionDigits: 2 }).format(bps / 100)} %`;
}
