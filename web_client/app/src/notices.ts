/** Short messages, questions that wait, and text that is given back. */
import { button, make } from "./elements";

const SHORT_MS = 4_000;

/** Shows messages in a region that screen readers follow. */
export class Notices {
  constructor(private readonly region: HTMLElement) {}

  /** Say something that passes. */
  say(message: string): void {
    const notice = this.add(message);
    setTimeout(() => notice.remove(), SHORT_MS);
  }

  /** Say that something happened to the user's text, and hand it back until it is dismissed. */
  giveBack(message: string, text: string): void {
    const notice = this.add(message);
    notice.classList.add("returned");
    if (text !== "") {
      const area = make("textarea", "");
      area.readOnly = true;
      area.value = text;
      area.setAttribute("aria-label", "Your text");
      notice.append(
        area,
        button("Copy text", () => void copy(text, area)),
      );
    }
    notice.append(button("Dismiss", () => notice.remove()));
  }

  /** Say something with a button; resolves when that is pressed. Gone once `signal` aborts. */
  ask(message: string, label: string, signal: AbortSignal): Promise<void> {
    const notice = this.add(message);
    notice.classList.add("asking");
    signal.addEventListener("abort", () => notice.remove());
    return new Promise((resolve) => {
      notice.append(button(label, () => resolve(), "primary"));
    });
  }

  private add(message: string): HTMLElement {
    const notice = make("div", "notice", make("p", "", message));
    this.region.append(notice);
    return notice;
  }
}

/** Copy `text`; where the browser does not allow it, select it in `area`. */
export async function copy(text: string, area?: HTMLTextAreaElement): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    area?.select();
    return false;
  }
}
