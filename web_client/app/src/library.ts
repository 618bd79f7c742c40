/** The documents that were opened in this browser, the last one first. */

const KEY = "stretto.documents";
const KEPT = 500;

/** A document in the list. */
export interface Listed {
  readonly id: string;
  readonly title: string;
  /** When it was opened last, in milliseconds. */
  readonly openedAt: number;
}

/** Return `list` with `document` first. */
export function withOpened(list: readonly Listed[], document: Listed): readonly Listed[] {
  return [document, ...without(list, document.id)].slice(0, KEPT);
}

/** Return `list` without the document `id`. */
export function without(list: readonly Listed[], id: string): readonly Listed[] {
  return list.filter((listed) => listed.id !== id);
}

/** Return the documents whose title or id contains every word of `query`. */
export function matching(list: readonly Listed[], query: string): readonly Listed[] {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  return list.filter(({ id, title }) => {
    const text = `${title}\n${id}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

/** Return the list that `stored` holds; whatever is malformed is left out. */
export function parse(stored: string | null): readonly Listed[] {
  try {
    const list: unknown = JSON.parse(stored ?? "[]");
    return Array.isArray(list) ? list.filter(isListed) : [];
  } catch {
    return [];
  }
}

/** Say how long ago that was. */
export function ago(then: number, now: number): string {
  const minutes = Math.floor((now - then) / 60_000);
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${minutes} min ago`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return hours === 1 ? "1 hour ago" : `${hours} hours ago`;
  const days = Math.floor(hours / 24);
  if (days < 30) return days === 1 ? "yesterday" : `${days} days ago`;
  return new Date(then).toLocaleDateString();
}

function isListed(entry: unknown): entry is Listed {
  const { id, title, openedAt } = (entry ?? {}) as Record<string, unknown>;
  return typeof id === "string" && typeof title === "string" && typeof openedAt === "number";
}

/** The stored list, the same in all tabs. */
export class Library {
  get list(): readonly Listed[] {
    return parse(localStorage.getItem(KEY));
  }

  /** Note that a document was opened, or has another title. */
  opened(id: string, title: string): void {
    this.store(withOpened(this.list, { id, title, openedAt: Date.now() }));
  }

  remove(id: string): void {
    this.store(without(this.list, id));
  }

  titleOf(id: string): string {
    return this.list.find((listed) => listed.id === id)?.title ?? id;
  }

  /** Call `listener` whenever another tab changed the list. */
  onForeignChange(listener: () => void): void {
    window.addEventListener("storage", ({ key }) => {
      if (key === KEY) listener();
    });
  }

  private store(list: readonly Listed[]): void {
    localStorage.setItem(KEY, JSON.stringify(list));
  }
}
