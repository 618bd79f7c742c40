/** The list of documents on the page: searched, walked with the keyboard, weeded out. */
import { button, element, make } from "./elements";
import { ago, type Library, type Listed, matching } from "./library";

/** From this many documents on they can be searched. */
const MANY = 8;
/** A title that is being written is listed once it stays for so long, or the page is left. */
const CALM_MS = 400;

/** Shows the library in the documents panel. */
export class Shelf {
  private readonly search = element("documents-search", HTMLInputElement);
  private readonly rows = element("documents-list");
  /** The title that is not listed yet. */
  private title: string | null = null;
  private isListed = false;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly library: Library,
    private readonly current: string | null,
  ) {
    this.search.addEventListener("input", () => this.show());
    this.rows.addEventListener("keydown", (event) => this.walk(event));
    library.onForeignChange(() => this.show());
    window.addEventListener("pagehide", () => this.list());
    this.show();
  }

  /** Show the list as it is now. */
  show(): void {
    const { list } = this.library;
    element("documents-find").hidden = list.length < MANY;
    const found = matching(list, element("documents-find").hidden ? "" : this.search.value);
    this.rows.replaceChildren(...found.map((listed) => this.row(listed)));
    const note = list.length === 0 ? "Documents that you open are listed here." : "Nothing found.";
    const empty = element("documents-empty");
    empty.hidden = found.length > 0;
    empty.textContent = note;
  }

  /** List the current document under `title`, soon. */
  retitle(title: string): void {
    this.title = title;
    clearTimeout(this.timer);
    if (this.isListed) this.timer = setTimeout(() => this.list(), CALM_MS);
    else this.list();
  }

  private list(): void {
    if (this.current === null || this.title === null) return;
    this.library.opened(this.current, this.title);
    this.title = null;
    this.isListed = true;
    this.show();
  }

  private row(listed: Listed): HTMLElement {
    const { id, title, openedAt } = listed;
    const link = make("a", "shelf-link", make("span", "shelf-title", title));
    link.href = `?doc=${encodeURIComponent(id)}`;
    link.append(make("span", "shelf-when", ago(openedAt, Date.now())));
    if (id === this.current) link.setAttribute("aria-current", "page");
    const remove = button("×", () => this.remove(id), "shelf-remove");
    remove.setAttribute("aria-label", `Remove “${title}” from this list`);
    remove.title = "Remove from this list";
    return make("li", "", link, remove);
  }

  private remove(id: string): void {
    const index = [...this.rows.children].findIndex((row) => row.contains(document.activeElement));
    this.library.remove(id);
    this.show();
    const next = this.rows.children[Math.min(index, this.rows.children.length - 1)];
    (next?.querySelector<HTMLElement>(".shelf-remove") ?? element("documents-new")).focus();
  }

  private walk(event: KeyboardEvent): void {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step === undefined) return;
    const links = [...this.rows.querySelectorAll<HTMLElement>(".shelf-link")];
    const row = links.findIndex((link) => link.parentElement?.contains(document.activeElement));
    links[row + step]?.focus();
    event.preventDefault();
  }
}
