/** The button that shows and hides the preview. */
import { element } from "./elements";

const KEY = "stretto.preview";
/** From this width on both stand side by side, unless the user wants it otherwise. */
const WIDE = window.matchMedia("(min-width: 960px)");

/** Shows the preview beside the text where there is room, instead of it where there is not. */
export class PreviewSwitch {
  private readonly button = element("preview-toggle");

  constructor(private readonly onShow: () => void) {
    this.set(WIDE.matches && localStorage.getItem(KEY) !== "off");
    this.button.addEventListener("click", () => {
      const on = this.button.getAttribute("aria-pressed") !== "true";
      if (WIDE.matches) localStorage.setItem(KEY, on ? "on" : "off");
      this.set(on);
    });
    WIDE.addEventListener("change", () =>
      this.set(WIDE.matches && localStorage.getItem(KEY) !== "off"),
    );
  }

  private set(on: boolean): void {
    this.button.setAttribute("aria-pressed", String(on));
    element("main").classList.toggle("with-preview", on);
    if (on) this.onShow();
  }
}
