/** The room beside the document: who is in it, what is said, and what it is about. */
import { type LiveRoom, type Member, StrettoError } from "stretto-client";
import { safeColor } from "./colors";
import { button, element, make } from "./elements";

/** What one may write at once, and how many messages stay on the page. */
const LONGEST = 2_000;
const KEPT = 500;
/** Whoever stopped typing for this long is not typing any more. */
const TYPING_MS = 3_000;
/** Messages of one person within this time stand together. */
const TOGETHER_MS = 3 * 60_000;
const LONGEST_ID = 200;

/** What the others see of somebody in the room. */
export type Presence = "here" | "typing" | "away";

/** Return the id of the room of a document, or null where it would be too long. */
export function roomOf(doc: string): string | null {
  const room = `chat:${doc}`;
  return room.length <= LONGEST_ID ? room : null;
}

/** Return the status of a member; what others send may be anything. */
export function presenceOf({ status }: Member): Presence {
  return status === "typing" || status === "away" ? status : "here";
}

/** Say who is typing, if anybody. */
export function typingText(names: readonly string[]): string {
  if (names.length === 0) return "";
  if (names.length === 1) return `${names[0]} is typing…`;
  if (names.length === 2) return `${names[0]} and ${names[1]} are typing…`;
  return "Several people are typing…";
}

/** Shows a room in the chat panel. */
export class Chat {
  private readonly log = element("chat-log");
  private readonly text = element("chat-text", HTMLTextAreaElement);
  private readonly topic = element("topic", HTMLInputElement);
  private last = { from: "", at: 0 };
  private unread = 0;
  private status: Presence = "here";
  private typing: ReturnType<typeof setTimeout> | undefined;
  /** The revision of the state when editing of the topic began. */
  private topicRevision: number | null = null;

  constructor(private readonly room: LiveRoom) {
    room.on("message", ({ event, data, from, at_ms }) => {
      if (event === "text" && typeof data === "string") {
        this.add(from.user.name, from.user.color, from.id, data.slice(0, LONGEST), at_ms);
      }
    });
    room.on("presence", () => this.showMembers());
    room.on("state", () => this.showTopic());
    room.on("closed", ({ error }) => this.close(error.message));
    this.listen();
    this.showMembers();
    this.showTopic();
    element("chat-body").hidden = false;
    element("chat-missing").hidden = true;
  }

  /** The panel was opened: what came is being read. */
  opened(): void {
    this.unread = 0;
    this.showUnread();
    this.log.scrollTop = this.log.scrollHeight;
  }

  private listen(): void {
    const form = element("chat-form", HTMLFormElement);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    this.text.maxLength = LONGEST;
    this.log.tabIndex = 0; // it scrolls, also by keyboard
    this.text.addEventListener("input", () => this.types());
    this.text.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      form.requestSubmit();
    });
    document.addEventListener("visibilitychange", () => this.show(this.resting()));
    this.topic.addEventListener("focus", () => {
      this.topicRevision = this.room.revision;
    });
    this.topic.addEventListener("blur", () => {
      if (this.topic.value === this.storedTopic()) this.forgetTopic();
    });
    element("topic-form").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.setTopic();
    });
  }

  // Messages.

  private send(): void {
    const text = this.text.value.trim();
    if (text === "") return;
    this.text.value = "";
    this.show(this.resting());
    const own = this.room.members.find(({ id }) => id === this.room.memberId);
    const { name, color } = own?.user ?? { name: "You", color: "" };
    const line = this.add(name, color, "self", text, Date.now());
    this.deliver(line, text);
  }

  private deliver(line: HTMLElement, text: string): void {
    this.room.send("text", text).catch((reason: unknown) => {
      const note = make("span", "failed", `Not sent: ${messageOf(reason)}. `);
      note.append(
        button("Try again", () => {
          note.remove();
          this.deliver(line, text);
        }),
      );
      line.append(note);
    });
  }

  private add(name: string, color: string, from: string, text: string, at: number): HTMLElement {
    const stuck = this.log.scrollTop + this.log.clientHeight >= this.log.scrollHeight - 40;
    const message = make("li", from === "self" ? "message own" : "message");
    if (this.last.from !== from || at - this.last.at > TOGETHER_MS) {
      const author = make("span", "author", from === "self" ? "You" : name);
      author.style.setProperty("--who", safeColor(color));
      const time = make("time", "", clock(at));
      time.dateTime = new Date(at).toISOString();
      message.append(make("p", "byline", author, time));
    }
    const line = make("p", "said", text);
    message.append(line);
    this.log.append(message);
    if (this.log.children.length > KEPT) this.log.firstElementChild?.remove();
    this.last = { from, at };
    if (stuck || from === "self") this.log.scrollTop = this.log.scrollHeight;
    if (element("chat").hidden) {
      this.unread += 1;
      this.showUnread();
    }
    return line;
  }

  private showUnread(): void {
    const badge = element("chat-unread");
    badge.hidden = this.unread === 0;
    badge.textContent = this.unread > 99 ? "99+" : String(this.unread);
    const label = this.unread === 0 ? "Chat" : `Chat, ${this.unread} unread`;
    element("chat-toggle").setAttribute("aria-label", label);
  }

  // Members.

  private types(): void {
    clearTimeout(this.typing);
    this.typing = setTimeout(() => this.show(this.resting()), TYPING_MS);
    this.show(this.text.value === "" ? this.resting() : "typing");
  }

  private resting(): Presence {
    return document.visibilityState === "hidden" ? "away" : "here";
  }

  private show(status: Presence): void {
    if (status === this.status) return;
    this.status = status;
    this.room.setStatus(status).catch(() => undefined); // told with the next one
  }

  private showMembers(): void {
    const others = this.room.members.filter(({ id }) => id !== this.room.memberId);
    const names = (status: Presence): string[] => [
      ...new Set(
        others.filter((member) => presenceOf(member) === status).map(({ user }) => user.name),
      ),
    ];
    const [here, away] = [[...names("here"), ...names("typing")], names("away")];
    const row = (name: string, className: string): HTMLElement => make("li", className, name);
    element("chat-members").replaceChildren(
      row("You", ""),
      ...here.map((name) => row(name, "")),
      ...away.map((name) => make("li", "away", `${name} (away)`)),
    );
    element("chat-typing").textContent = typingText(names("typing"));
  }

  // The topic, which anybody may set: only if it is still what they saw.

  private storedTopic(): string {
    const { topic } = this.room.state;
    return typeof topic === "string" ? topic : "";
  }

  private showTopic(): void {
    if (this.topicRevision === null) this.topic.value = this.storedTopic();
  }

  private forgetTopic(): void {
    this.topicRevision = null;
    this.showTopic();
  }

  private async setTopic(): Promise<void> {
    const topic = this.topic.value.trim();
    const note = element("topic-note");
    try {
      await this.room.setState({ topic: topic || null }, this.topicRevision ?? undefined);
      note.textContent = "Topic set.";
      this.forgetTopic();
    } catch (reason) {
      const conflict = reason instanceof StrettoError && reason.code === "revision_conflict";
      note.textContent = conflict
        ? `Somebody set the topic to “${this.storedTopic()}” meanwhile. Press Enter to replace it.`
        : `The topic was not set: ${messageOf(reason)}.`;
      if (conflict) this.topicRevision = this.room.revision;
    }
  }

  private close(message: string): void {
    element("chat-body").hidden = true;
    showMissing(message);
  }
}

/** Say that there is no chat, and why. */
export function showMissing(message: string): void {
  const missing = element("chat-missing");
  missing.hidden = false;
  missing.textContent = `There is no chat here: ${message}.`;
}

function clock(at: number): string {
  return new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}

function messageOf(reason: unknown): string {
  return reason instanceof Error ? reason.message : String(reason);
}
