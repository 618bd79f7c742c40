/** Short messages, and text that is given back. */

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
      const area = document.createElement("textarea");
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

  private add(message: string): HTMLElement {
    const notice = document.createElement("div");
    notice.className = "notice";
    const line = document.createElement("p");
    line.textContent = message;
    notice.append(line);
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

function button(label: string, action: () => void): HTMLButtonElement {
  const element = document.createElement("button");
  element.type = "button";
  element.className = "quiet";
  element.textContent = label;
  element.addEventListener("click", action);
  return element;
}
