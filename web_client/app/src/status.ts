/** The indicator in the bar, and the banner under it. */
import type { LiveDocument, RealtimeClient } from "stretto-client";
import { element } from "./elements";
import { indicator, offlineBanner } from "./presentation";

/** An offline spell shorter than this gets no banner. */
const BANNER_MS = 1_200;
/** "Saving…" stays at least this long after the last edit, so that it does not flicker. */
const CALM_MS = 250;

/** Shows the state of the connection and of the document. */
export class StatusLine {
  private readonly line = element("status");
  private readonly text = element("status-text");
  private readonly banner = element("banner");
  private bannerTimer: ReturnType<typeof setTimeout> | undefined;
  private calmTimer: ReturnType<typeof setTimeout> | undefined;
  private unsent = 0;

  /** Show how things are; `doc` is null until it is open. */
  show(client: RealtimeClient, doc: LiveDocument | null): void {
    this.unsent = doc?.unsent ?? 0;
    const { state, text } = indicator({
      opened: doc !== null,
      connection: client.state,
      status: doc?.status ?? "offline",
      unsent: this.unsent,
      role: doc?.role ?? "viewer",
      closed: doc?.isClosed ?? false,
    });
    clearTimeout(this.calmTimer);
    if (state === "saved" && this.line.dataset["state"] === "saving") {
      this.calmTimer = setTimeout(() => this.set(state, text), CALM_MS);
    } else {
      this.set(state, text);
    }
    this.showOffline(state === "offline");
  }

  /** Say that nothing more will happen, and why. */
  stop(message: string): void {
    this.set("stopped", "Not open");
    this.tell(message);
  }

  private set(state: string, text: string): void {
    if (this.line.dataset["state"] === state && this.text.textContent === text) return;
    // Saving after each pause in typing is not worth being read out.
    const routine = isRoutine(this.line.dataset["state"]) && isRoutine(state);
    this.line.ariaLive = routine ? "off" : "polite";
    this.line.dataset["state"] = state;
    this.text.textContent = text;
    element("people").classList.toggle("stale", state !== "saved" && state !== "saving");
  }

  private showOffline(offline: boolean): void {
    if (!offline) {
      clearTimeout(this.bannerTimer);
      this.bannerTimer = undefined;
      this.tell("");
    } else if (!this.banner.hidden) {
      this.tell(offlineBanner(this.unsent));
    } else {
      this.bannerTimer ??= setTimeout(() => this.tell(offlineBanner(this.unsent)), BANNER_MS);
    }
  }

  private tell(text: string): void {
    if (this.banner.textContent === text) return;
    this.banner.textContent = text;
    this.banner.hidden = text === "";
  }
}

function isRoutine(state: string | undefined): boolean {
  return state === "saved" || state === "saving";
}
