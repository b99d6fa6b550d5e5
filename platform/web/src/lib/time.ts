/** Dates for people, in their own language and time zone. */
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const dayOfYear = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });

const DAY_MS = 86_400_000;

function startOfDay(date: Date): number {
  return new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
}

/** Whole calendar days from `date` to `now`; 0 is today. */
export function daysAgo(date: Date, now: Date = new Date()): number {
  return Math.round((startOfDay(now) - startOfDay(date)) / DAY_MS);
}

export function formatClock(iso: string): string {
  return clock.format(new Date(iso));
}

export function formatFull(iso: string): string {
  return full.format(new Date(iso));
}

/** `Today`, `Yesterday`, `3 Nov` or `3 Nov 2025`. */
export function formatDay(iso: string, now: Date = new Date()): string {
  const date = new Date(iso);
  const age = daysAgo(date, now);
  if (age === 0 || age === 1) {
    const word = relative.format(-age, "day");
    return word.charAt(0).toUpperCase() + word.slice(1);
  }
  return (date.getFullYear() === now.getFullYear() ? day : dayOfYear).format(date);
}

const DAY_OF_CALENDAR = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });

/** A day of the calendar, `2027-01-31`, wherever one is: `31 Jan 2027`. */
export function formatDate(day: string): string {
  return DAY_OF_CALENDAR.format(new Date(`${day}T00:00:00Z`));
}

/** `21 Nov 2026`, where a sentence goes on around it. */
export function formatCalendarDay(iso: string): string {
  return dayOfYear.format(new Date(iso));
}

/** A table's date with its time: `21 Nov, 14:03`. */
export function formatMoment(iso: string, now: Date = new Date()): string {
  const date = new Date(iso);
  const format = date.getFullYear() === now.getFullYear() ? day : dayOfYear;
  return `${format.format(date)}, ${clock.format(date)}`;
}
