/** Browser storage that may be full, refused or absent: then it remembers nothing, and nothing breaks. */

/** Whether it remembers at all. */
export function remembers(): boolean {
  try {
    return localStorage.length >= 0;
  } catch {
    return false;
  }
}

export function recall(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

export function remember(key: string, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch {
    // Remembering is a convenience.
  }
}

/** Forgets every key that begins with `prefix`. */
export function forget(prefix: string): void {
  try {
    for (const key of Object.keys(localStorage)) if (key.startsWith(prefix)) localStorage.removeItem(key);
  } catch {
    // Nothing was remembered, then.
  }
}
