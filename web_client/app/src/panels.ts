/** The panels beside the text, which open and close: drawers where there is no room beside it. */
import { element } from "./elements";

/** Up to this width they lie over the text, which is out of reach meanwhile. */
const NARROW = window.matchMedia("(max-width: 1100px)");

/** A panel with the button that opens it. */
export class Panel {
  private readonly panel: HTMLElement;
  private readonly opener: HTMLElement;

  /** `first` is what gets the focus when the panel opens. */
  constructor(
    private readonly name: string,
    private readonly first: string,
    private readonly onToggle: (open: boolean) => void = () => undefined,
  ) {
    this.panel = element(name);
    this.opener = element(`${name}-toggle`);
    this.opener.addEventListener("click", () => this.toggle(!this.isOpen));
    element(`${name}-close`).addEventListener("click", () => this.toggle(false));
    this.panel.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.toggle(false);
    });
    // Where it lies over the text, a click beside it closes it.
    element("veil").addEventListener("click", () => this.hide());
    NARROW.addEventListener("change", coverText);
  }

  get isOpen(): boolean {
    return !this.panel.hidden;
  }

  /** Open or close the panel and move the focus along. */
  toggle(open: boolean): void {
    if (open === this.isOpen) return;
    this.set(open);
    if (!open) this.opener.focus();
    else if (element(this.first).offsetParent !== null) element(this.first).focus();
    else element(`${this.name}-close`).focus();
  }

  private hide(): void {
    if (this.isOpen) this.set(false);
  }

  private set(open: boolean): void {
    this.panel.hidden = !open;
    this.opener.setAttribute("aria-expanded", String(open));
    document.body.classList.toggle(`with-${this.name}`, open);
    coverText();
    this.onToggle(open);
  }
}

function coverText(): void {
  element("main").inert = NARROW.matches && document.body.matches(".with-documents, .with-chat");
}
